"""What the tests share: containers to start, peers to play, and waits that end."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder of the project."""
