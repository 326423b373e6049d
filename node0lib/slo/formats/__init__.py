"""Other people's ways to write an SLO down, as frozen values: OpenSLO, Sloth, Pyrra. No files, no clocks."""
