"""The lobby of an engine: which containers that dial in are let in, and when they have left."""
