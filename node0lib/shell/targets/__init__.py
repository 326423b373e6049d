"""Real targets: what splits real traffic, and where the counters of both arms are read."""
