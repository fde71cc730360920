"""The public API over real sockets and processes, by a user who takes it at its word."""
