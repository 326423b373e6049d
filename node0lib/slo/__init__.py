"""The room slo; see node0lib/README.md."""
