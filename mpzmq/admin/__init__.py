"""Watching a process over HTTP: an admin endpoint, and its page."""
