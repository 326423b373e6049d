"""The only rooms with files, clocks, sockets and processes."""
