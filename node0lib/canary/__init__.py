"""The room canary; see node0lib/README.md."""
