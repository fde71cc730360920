"""Handlers: which there are, what may run, and how it is run and answered."""
