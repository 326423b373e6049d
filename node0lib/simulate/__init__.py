"""The room simulate; see node0lib/README.md."""
