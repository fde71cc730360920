"""Hostile input: what strangers and liars can do to a container, and to an engine, without keys."""
