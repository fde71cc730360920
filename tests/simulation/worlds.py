"""What is simulated: a network with its faults, applications that are odd, or containers that dial in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from . import joining
from . import run as network
from .applications import world as applications

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .violation import Violation

__all__ = ["WORLDS", "Outcome", "World"]


class Outcome(Protocol):
    """What came of one seed."""

    @property
    def violations(self) -> Sequence[Violation]:
        """The promises that were broken."""

    @property
    def reached(self) -> Mapping[str, bool]:
        """States that are worth reaching, and whether it has reached them."""


class World(NamedTuple):
    """One of them.

    Attributes:
        run: runs a seed.
        trace: shows what came of it, line by line.
    """

    run: Callable[[int], Outcome]
    trace: Callable[[Any], Iterator[str]]


WORLDS = {
    "network": World(network.run, network.trace),
    "applications": World(applications.run, applications.trace),
    "joining": World(joining.run, joining.trace),
}
