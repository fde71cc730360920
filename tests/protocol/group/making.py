"""Members for tests of the pure half of groups."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from mpzmq import LinkState, Status
from mpzmq.protocol.group.candidate import Candidate
from mpzmq.protocol.health.load import ContainerLoad

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Facts:
    """A link, as a test says it is."""

    state: LinkState = LinkState.ALIVE
    is_running: bool = True
    status: Status | None = Status.RUNNING
    instance: UUID | None = field(default_factory=uuid4)
    load: ContainerLoad = field(default_factory=ContainerLoad)

    def go(self, state: LinkState) -> None:
        self.state = state
        self.is_running = state in (LinkState.ALIVE, LinkState.BUSY)


class Made(Candidate):
    """A member whose link the test holds."""

    def __init__(self, name: str, labels: Mapping[str, str] | None = None, weight: float = 1.0) -> None:
        self.facts = Facts()
        self.is_full = False
        """Whether its link takes no more."""
        super().__init__(name, labels or {}, weight, self.facts)

    @property
    def has_room(self) -> bool:
        return not self.is_full


def made(count: int) -> dict[str, Made]:
    return {f"m{number}": Made(f"m{number}") for number in range(count)}


def seeded(seed: int = 1) -> random.Random:
    return random.Random(seed)
