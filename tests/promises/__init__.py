"""The scenes that the library promises to survive, with real processes."""
