"""The room views; see node0lib/README.md."""
