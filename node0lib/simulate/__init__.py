"""The room simulate: seeded worlds; see node0lib/README.md."""
