"""Odd applications: code around and inside of requests that raises, hangs, blocks, changes what it was given."""
