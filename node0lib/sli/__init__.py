"""The room sli; see node0lib/README.md."""
