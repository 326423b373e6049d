"""The room optimize; see node0lib/README.md."""
