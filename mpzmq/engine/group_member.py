"""A member of a group: its books, and its link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..models import Member
from ..protocol.group.candidate import Candidate

if TYPE_CHECKING:
    from uuid import UUID

    from ..protocol.link.link import Link
    from ..protocol.requester.request_ids import AnsweredIds
    from .resolvers import Endpoint
    from .writer import ComputerEngineWriter

__all__ = ["GroupMember"]


class GroupMember(Candidate):
    """A member of a group.

    Args:
        endpoint: where it is, as its group was told.
        writer: the handle of its container.
        link: to it.
    """

    def __init__(self, endpoint: Endpoint, writer: ComputerEngineWriter, link: Link) -> None:
        super().__init__(endpoint.name, endpoint.labels, endpoint.weight, link)
        self.endpoint = endpoint
        self.writer = writer
        self.sender = writer.sender
        self.answered_ids: AnsweredIds = link.tracker.answered_ids
        self._tracker = link.tracker
        self._in_line = writer.sender.in_line
        self.greeted: UUID | None = None
        """Which instance has come up last."""
        self.is_loss_counted = False
        """Whether its last loss counts already: one error, however many requests it took along."""

    @property
    def has_room(self) -> bool:
        """Whether its link takes one more request now, and nobody waits in front of it."""
        return not self._in_line and self._tracker.has_room(0)

    def describe(self, endpoint: Endpoint) -> None:
        """The group was told something else of it: labels, a weight."""
        self.endpoint, self.labels, self.weight = endpoint, endpoint.labels, endpoint.weight

    @property
    def shown(self) -> Member:
        """What the application is told of it."""
        link = self.link
        return Member(
            self.name,
            self.endpoint.address,
            dict(self.labels),
            self.weight,
            self.writer.remote_id,
            link.instance,
            link.state,
            self.in_flight,
            self.ejected_until is not None,
            self.holds > 0,
        )
