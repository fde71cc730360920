"""Plain TCP: bytes, and when a connection begins and ends."""
