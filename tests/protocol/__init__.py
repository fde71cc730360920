"""Tests of the pure core: no loop, no sockets, and time is a number."""
