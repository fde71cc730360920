"""The version, alone so that the build backend can read it."""

__version__ = "0.2.0"
