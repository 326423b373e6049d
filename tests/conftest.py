"""One profile for hypothesis: the same examples on every run, so that a red test is red for everybody."""

from hypothesis import settings

settings.register_profile("node0", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("node0")
