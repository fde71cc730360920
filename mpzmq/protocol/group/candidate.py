"""One member of a group, as far as it matters for who is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ...models import Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from ...models import LinkState
    from ..health.load import ContainerLoad

__all__ = ["Candidate", "LinkFacts"]

_STOP = Status.STOP  # looking it up in its class takes 0.1 us (Python 3.11)


class LinkFacts(Protocol):
    """What matters of a link."""

    @property
    def state(self) -> LinkState:
        """What the application is told of it."""

    @property
    def is_running(self) -> bool:
        """Whether requests can leave on it now."""

    @property
    def status(self) -> Status | None:
        """The container's run state, as last heard."""

    @property
    def instance(self) -> UUID | None:
        """The id of the container's process incarnation; None: it has not greeted yet."""

    @property
    def load(self) -> ContainerLoad:
        """How much the container does, as far as it has told."""


class Candidate:
    """What is known of one member.

    Args:
        name: its name, which no other member has.
        labels: what it is told apart by.
        weight: its share of the requests, against the others'.
        link: to it. What it says is asked for whenever it matters, and not kept.

    Attributes:
        load: how much its container does.
        in_flight: requests of this group that it has, and that have not ended.
        up_since: when it came, or came back.
        holds: how many have asked that it gets no new requests.
        errors: errors that speak of it, one behind the other, without an answer between them.
        ejections: how often it was ejected lately.
        ejected_at: when it came back from that for the last time.
        ejected_until: when it may be asked again; None: it is not ejected.
        latency: how long its requests take, in seconds, the peaks remembered longest; None: none has ended.
        latency_at: when that was noted.
    """

    def __init__(self, name: str, labels: Mapping[str, str], weight: float, link: LinkFacts) -> None:
        self.name = name
        self.labels = labels
        self.weight = weight
        self.link = link
        self.load = link.load
        self.in_flight = self.holds = self.errors = self.ejections = 0
        self.up_since = self.ejected_at = self.latency_at = 0.0
        self.ejected_until: float | None = None
        self.latency: float | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.link.state}, {self.in_flight} in flight>"

    @property
    def is_able(self) -> bool:
        """Whether its container takes requests now: the link is up, and its status is not STOP."""
        link = self.link
        return link.is_running and link.status is not _STOP

    @property
    def has_room(self) -> bool:
        """Whether its link takes one more request now."""
        return True

    @property
    def is_well(self) -> bool:
        """Whether it is able, and nothing speaks against it."""
        return self.is_able and not self.holds and self.ejected_until is None
