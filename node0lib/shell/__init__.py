"""The room shell; see node0lib/README.md."""
