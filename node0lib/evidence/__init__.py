"""The room evidence; see node0lib/README.md."""
