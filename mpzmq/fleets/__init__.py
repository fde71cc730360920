"""Containers that somebody starts: on this host, or by a scheduler that exists."""
