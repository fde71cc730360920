"""The engine's half: one link to one container."""
