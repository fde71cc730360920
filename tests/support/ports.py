"""Ports on which nothing listens yet."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]

# Below those that systems give out for port 0: else another test could be given the one that was just seen to be free.
_NOT_GIVEN_OUT = range(12_000, 32_000)
_dice = random.SystemRandom()


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nothing listens, and that nobody gets who does not ask for it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = _dice.choice(_NOT_GIVEN_OUT)
        with socket.socket(family) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
