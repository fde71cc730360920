"""The container's half: the sessions of its engines."""
