"""The lobby of an engine: what strangers say before they have joined, and files of tokens.

One input is some messages, as :mod:`tests.fuzz.wire_door` has them, each from a connection of its own; or,
behind a first byte that is odd, the text of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mpzmq.protocol.lobby.lobby import MAX_LABELS, LobbyTable
from mpzmq.protocol.lobby.tokens import given_tokens, parse_tokens
from mpzmq.protocol.wire.kinds import Kind
from mpzmq.protocol.wire.messages import MessageDecoder

from .door import Door
from .wire_door import LIMITS, unpacked_input

if TYPE_CHECKING:
    from mpzmq.protocol.lobby.lobby import JoinedContainer

__all__ = ["TOKEN", "LobbyDoor"]

TOKEN = "open-sesame"


class LobbyDoor(Door):
    """Who is let in, and what is told of it."""

    tokens: ClassVar = [
        TOKEN.encode(), b"\xab" + TOKEN.encode(), b"\x98\x14\x91\x02", b"\xd8\x01", b"#", b"\n", b" ",
        b"2027-01-31T12:00:00Z", b"9999-12-31T23:59:59+14:00", b"\xed\xa0\x80", b"\x80", b"\x81\xa1k\xa1v", b"\xc0",
    ]  # fmt: skip

    def push(self, data: bytes) -> int:
        """One input; returns how many have joined, or tokens were found."""
        kind, messages = unpacked_input(data)
        return self._file(data[1:]) if kind else self._strangers(messages)

    @staticmethod
    def _file(data: bytes) -> int:
        text = data.decode(errors="replace")
        try:
            return len(parse_tokens(text)._entries)
        except ValueError as error:
            # Whatever may be a token is not shown: a long word that is no runner's name.
            words = [line.split("#", 1)[0].split() for line in text.splitlines()]
            names = {line[0] for line in words if len(line) > 1}
            long = {word for line in words for word in line if len(word) > 20 and word.isalnum()} - names
            assert not any(word in str(error) for word in long), "a token stands in an error"
            return 0

    @staticmethod
    def _strangers(messages: list[list[bytes]]) -> int:
        decoder = MessageDecoder(LIMITS, Kind.RESPONSE)
        table, tokens = LobbyTable(5.0, 4, None), given_tokens({"ada": TOKEN})
        now, joined_ever = 0.0, 0
        for number, frames in enumerate(messages):
            records = decoder.decode(list(frames)).records
            if len(records) != 1 or records[0][1][0] != Kind.JOIN:
                continue
            record, route = records[0][1], b"route-%d" % number
            joined, left, fault = table.on_join(route, record, tokens, now, 1e9 + now)
            assert (joined is None) == bool(fault)
            assert TOKEN not in fault and (record[4] not in fault or len(record[4]) < 8), "a token is told"
            if joined is not None:
                joined_ever += 1
                assert record[4] == TOKEN and joined.name and len(joined.labels) <= MAX_LABELS
            _agrees(table, left)
            if number % 3 == 2 and joined is not None:
                table.on_lost(joined, now)
            now += 2.0
            for member in table.overdue(now):
                table.leave(member)
            _agrees(table, [])
        return joined_ever


def _agrees(table: LobbyTable, left: list[JoinedContainer]) -> None:
    assert len(table.members) <= 4 and len(table.members) == len(table.by_name)
    assert all(table.by_name[member.name] is member for member in table.members.values())
    assert all(table.members.get(member.instance) is member for member in table.by_route.values())
    assert not any(table.has(member) for member in left)
