"""The protocol without I/O: bytes and time in, events and bytes out.

Nothing in this package opens a socket, waits, or looks at a clock: the time is an argument, in seconds on any
monotonic clock.
"""
