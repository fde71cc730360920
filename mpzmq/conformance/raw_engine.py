"""An engine that says whatever a check wants said, to the container that is judged."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from ..protocol.wire.kinds import Goodbye, Kind, Op
from ..protocol.wire.records import VERSION
from ..transport.interface import SocketSettings
from .checks import Violation
from .conversation import Conversation
from .frames import LINK, Heard, shown
from .shapes import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..failure import Failure
    from ..transport.interface import Dealer, Frames, Transport

__all__ = ["SETTINGS", "RawEngine"]

SETTINGS = SocketSettings(
    redial_interval=0.1, connect_timeout=3.0, heartbeat_interval=1.5, down_after=5.0, message_bytes=1 << 27
)
"""Of all sockets of the judge."""

_INTERVAL = 60.0
"""Seconds that it announces in HELLO: so long no container wonders whether it is there."""
_LIMITS = {"message_bytes": 1 << 26, "depth": 64, "items": 100_000}
_DRAINED = 10_000
_LINGER = 0.2


class RawEngine(Conversation):
    """One connection to a container, which ends for good when it is lost.

    Args:
        transport: makes the socket.
        endpoint: where the container serves.
        patience: seconds within which it has to answer.
    """

    def __init__(self, transport: Transport, endpoint: str, patience: float) -> None:
        super().__init__(of_engine=False, patience=patience)
        self.session = uuid4()
        self.sequence = 0
        """The number of the last request."""
        self.sent = 0
        """Messages that were sent behind HELLO."""
        self.sent_bytes = 0
        """Their bytes."""
        self.welcomed: dict[str, Any] = {}
        """The fields of WELCOME by name."""
        self.is_up = False
        self.failure: Failure | None = None
        self._endpoint = endpoint
        self._dealer: Dealer | None = transport.dealer(endpoint, SETTINGS, self)

    async def connected(self) -> None:
        """Waits for the ZMTP handshake.

        Raises:
            ConnectionError: nothing that speaks ZMTP listens there.
        """
        await self.until(lambda: self.is_up or self.has_ended, self.patience)
        if not self.is_up:
            text = f"no connection to {self._endpoint} within {self.patience:g} s"
            raise ConnectionError(self.failure.detail if self.failure else text)

    def leave(self) -> None:
        """Says GOODBYE where it was greeted, so that the container waits for nothing, and closes."""
        if self._dealer is not None and self.welcomed:
            self._dealer.send(self.framed([Kind.GOODBYE, Goodbye.CLOSED, "the check is over"]))
        self.lose(_LINGER)

    def lose(self, linger: float = 0.0) -> None:
        """Closes without a word, as a connection that is lost."""
        if self._dealer is not None:
            self._dealer.close(linger)
            self._dealer = None

    # What it says

    def send(self, frames: Frames) -> None:
        """Sends frames as they are."""
        if self._dealer is None or not self._dealer.send(frames):
            raise Violation(f"the connection takes no more; {self.what_came()}")
        self.sent += 1
        self.sent_bytes += sum(map(len, frames))

    def hello(self, number: int = 1, *, session: UUID | None = None, **limits: int) -> list[Any]:
        """A HELLO; 0 takes a limit out."""
        announced = {key: value for key, value in (_LIMITS | limits).items() if value}
        self.session = session or self.session
        self.most_records = announced.get("batch_records", 1)
        return [Kind.HELLO, [VERSION], self.session, number, "conformance", _INTERVAL, announced]

    async def greet(self, number: int = 1, *, session: UUID | None = None, **limits: int) -> None:
        """Says HELLO, and waits for WELCOME."""
        self.say(self.hello(number, session=session, **limits))
        self.sent = self.sent_bytes = 0
        heard = await self.hear(Kind.WELCOME, Kind.GOODBYE)
        if heard.kind == Kind.GOODBYE:
            raise Violation(f"in place of WELCOME: {shown(heard, NAMES)}")
        names = ("version", "instance", "number", "resumed", "status", "name", "interval", "window", "limits")
        self.welcomed = dict(zip(names, heard.record[1:], strict=False))

    def request(
        self,
        function: str | None,
        *args: object,
        remaining: int | None = 30_000,
        op: int = Op.CALL,
        flags: int = 0,
        sequence: int = 0,
        tag: bytes = b"",
        buffers: Sequence[bytes] = (),
    ) -> bytes:
        """Sends a REQUEST, of the next number if none is given; returns its tag."""
        tag = tag or secrets.token_bytes(16)
        self.say(self.asked(function, *args, remaining=remaining, op=op, flags=flags, sequence=sequence), tag, *buffers)
        return tag

    def asked(
        self,
        function: str | None,
        *args: object,
        remaining: int | None = 30_000,
        op: int = Op.CALL,
        flags: int = 0,
        sequence: int = 0,
    ) -> list[Any]:
        """The record of a REQUEST."""
        if not sequence:
            self.sequence += 1
        return [Kind.REQUEST, sequence or self.sequence, remaining, flags, op, function, list(args), None, None]

    async def answered(self, tag: bytes, seconds: float | None = None) -> Any:
        """The value with which a request is answered."""
        heard = await self.hear(Kind.RESPONSE, Kind.ERROR, tag=tag, seconds=seconds)
        if heard.kind == Kind.ERROR:
            raise Violation(shown(heard, NAMES))
        return heard.record[2]

    async def refused(self, tag: bytes, code: int, executed: int, seconds: float | None = None) -> Heard:
        """The ERROR with which a request has to end."""
        heard = await self.hear(Kind.RESPONSE, Kind.ERROR, tag=tag, seconds=seconds)
        if heard.kind != Kind.ERROR or heard.record[1:3] != [code, executed]:
            raise Violation(f"where ERROR with code {code} and executed {executed} was due: {shown(heard, NAMES)}")
        return heard

    async def call(self, function: str, *args: object) -> Any:
        """Calls a function of the container; returns what that does."""
        return await self.answered(self.request(function, *args))

    async def pinged(self, number: int = 1) -> Heard:
        """Sends PING, and waits for its PONG: all that was sent before was read then."""
        self.say([Kind.PING, number])
        while True:
            heard = await self.hear(Kind.PONG, tag=LINK)
            if heard.record[1] == number:
                return heard

    def answer(self, heard: Heard) -> bool:
        """A PING gets its PONG."""
        if heard.kind == Kind.PING and self._dealer is not None:
            self.mention([Kind.PONG, heard.record[1], 0, 0])
        return heard.kind == Kind.PING

    # What the transport tells

    def on_messages(self, messages: Sequence[Frames]) -> None:
        """Messages have arrived."""
        for frames in messages:
            self.take(frames)

    def on_connection(self, changes: Sequence[Failure | None]) -> None:
        """The connection began, or has ended."""
        for failure in changes:
            if failure is None:
                self.is_up = True
                self._news.set()
                continue
            self.failure = failure
            if self._dealer is not None:
                self._dealer.drain(_DRAINED)
            self.lose()
            self.end()

    def on_redial(self) -> bool:
        """Never: its connection is the only one."""
        return False

    def on_writable(self) -> None:
        """What was refused ended the check."""
