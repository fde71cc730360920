"""The side that connects to containers."""
