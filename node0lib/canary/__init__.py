"""Is the new one worse? A judge, and the walk through the stages of a change."""
