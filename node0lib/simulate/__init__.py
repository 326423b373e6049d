"""A seeded world: the embedded node."""
