"""Connections without a session: how much each of them may say, and what it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...config import Limits
    from ..wire.records import Frames

__all__ = ["SessionlessConnections"]

MAX_MESSAGES = 64
"""From one connection: an engine says HELLO there and waits, or was given up and has to dial again in any case."""

MAX_ROUTES = 1024
"""Connections of which it is remembered how much they have said."""


class SessionlessConnections:
    """What comes from connections that have not greeted, were turned away, given up or superseded."""

    def __init__(self, limits: Limits) -> None:
        self._most_answers = limits.batch_records
        self._messages: dict[bytes, int] = {}
        self._responses: dict[tuple[bytes, int], dict[bytes, bytes]] = {}

    def is_over_limit(self, route: bytes) -> bool:
        """One more message has come from a connection; True: it is to be cut."""
        messages = self._messages
        count = messages.pop(route, 0) + 1
        if len(messages) >= MAX_ROUTES:
            del messages[next(iter(messages))]
        messages[route] = count
        return count > MAX_MESSAGES

    def answer(self, route: bytes, tag: bytes, record: bytes) -> None:
        """Queues a record for a connection; there is one for each tag.

        What answers one message leaves as one message: nobody has told how many records the other side accepts, but
        not more than it sends.
        """
        answers = self._responses.setdefault((route, self._messages.get(route, 0)), {})
        if len(answers) < self._most_answers:
            answers[tag] = record

    def take(self) -> list[tuple[bytes, Frames]]:
        """The messages that are to be sent now, each with its route."""
        if not self._responses:
            return []
        taken, self._responses = self._responses, {}
        return [(route, [b"".join(answers), b"".join(answers.values())]) for (route, _), answers in taken.items()]
