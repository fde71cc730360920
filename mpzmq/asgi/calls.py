"""``POST /call/NAME``: a function is asked in the way that fits it, for as long as its client is there."""

from __future__ import annotations

import hashlib
import inspect
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ..errors import MpzmqError, Refused, RemoteError, RequestIdReused, Unsupported
from ..models import Executed
from ..protocol.requester.options import UNSET
from .answers import Answer, Problem, encoded
from .bodies import Lines, arguments_of, whole_body
from .client import while_there
from .errors import error_answer
from .heads import JSON, NDJSON, SSE, Way, read_head
from .replays import Replays
from .streams import send_channel, send_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..exposed.allowed import Allowed
    from ..exposed.descriptions import Descriptions
    from ..exposed.functions import ExposedFunction
    from ..exposed.target import Container, OpenedTarget
    from .heads import Head
    from .types import Metadata, Receive, Scope, Send

__all__ = ["Calls", "no_function"]


class Calls:
    """Asks functions for HTTP clients.

    Args:
        target: whom to ask.
        allowed: for which functions.
        descriptions: of these.
        metadata: goes along with each.
        timeout: seconds that a call may take, and a client may be silent.
        max_body: bytes of a body, or of one of its lines.
    """

    def __init__(
        self,
        target: OpenedTarget,
        allowed: Allowed,
        descriptions: Descriptions,
        metadata: Metadata | None,
        timeout: float,
        max_body: int,
    ) -> None:
        self._target = target
        self._allowed = allowed
        self._descriptions = descriptions
        self._metadata = metadata
        self._timeout = timeout
        self._max_body = max_body
        self._replays = Replays()

    async def answer(self, name: str, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """The answer; None: it was sent piece by piece.

        Raises:
            Problem, MpzmqError: there is none, and why.
            ClientGone: there is nobody to answer.
        """
        if name not in self._allowed:
            raise no_function(name)
        head = read_head(scope["headers"])
        if head.has_lines:
            lines = Lines(self._max_body, self._timeout)
            async with while_there(receive, lines.feed):
                args, kwargs = await lines.arguments()
                asked = _Asked(name, args, kwargs, head, lines, send)
                return await self._ask(asked, await self._target.get(), await self._metadata_of(scope))
        if head.length is not None and head.length > self._max_body:
            text = f"the body has {head.length:,} bytes, and at most {self._max_body:,} are taken here"
            raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BodyTooLarge", text)
        body = await whole_body(receive, self._max_body, self._timeout)
        args, kwargs = arguments_of(body, "the body")
        asked = _Asked(name, args, kwargs, head, None, send)
        async with while_there(receive):
            container, metadata = await self._target.get(), await self._metadata_of(scope)
            if head.key is None:
                return await self._ask(asked, container, metadata)
            return await self._ask_once(asked, container, metadata, body)

    async def _metadata_of(self, scope: Scope) -> Mapping[str, Any] | None:
        if not callable(self._metadata):
            return self._metadata
        found = self._metadata(scope)
        return await found if inspect.isawaitable(found) else found

    async def _ask(self, asked: _Asked, container: Container, metadata: Mapping[str, Any] | None) -> Answer | None:
        """Asks in one way after the other, until it is the function's: nothing has run before that."""
        head = asked.head
        options: dict[str, Any] = {"metadata": UNSET if metadata is None else metadata}
        for way, kind in head.ways():
            try:
                if way is Way.CALL:
                    options["timeout"] = self._seconds(head)
                    view = container.options(request_id=head.key, **options)
                    return _result(await view.call(asked.name, *asked.args, **asked.kwargs))
                options["timeout"] = head.timeout
                if way is Way.UPLOAD:
                    assert asked.lines is not None
                    view = container.options(idle_timeout=self._timeout, **options)
                    return _result(await view.upload(asked.name, asked.lines, *asked.args, **asked.kwargs))
                view = container.options(**options)
                if way is Way.STREAM:
                    stream = view.stream(asked.name, *asked.args, **asked.kwargs)
                    await send_stream(stream, kind, asked.send, self._timeout)
                else:
                    assert asked.lines is not None
                    channel = view.channel(asked.name, *asked.args, **asked.kwargs)
                    await send_channel(channel, asked.lines, kind, asked.send, self._timeout)
                return None
            except Unsupported:
                continue
        raise await self._misfit(asked)

    async def _ask_once(
        self, asked: _Asked, container: Container, metadata: Mapping[str, Any] | None, body: bytes
    ) -> Answer:
        key = asked.head.key
        assert key is not None

        async def ask() -> tuple[Answer, bool]:
            view = container.options(
                timeout=self._seconds(asked.head),
                request_id=key,
                metadata=UNSET if metadata is None else metadata,
            )
            try:
                return _result(await view.call(asked.name, *asked.args, **asked.kwargs)), True
            except Unsupported:
                return error_answer(await self._misfit(asked)), False
            except MpzmqError as error:
                # What a handler has said stands. After anything else the same id may be issued again, and its
                # container knows what became of it.
                is_final = isinstance(error, RemoteError) or type(error) is Refused
                return error_answer(error), is_final
            except ValueError as error:
                text = f"{error}, and the answer that this one had is not kept any more"
                return error_answer(RequestIdReused(text, request_id=key, executed=Executed.UNKNOWN)), False

        digest = hashlib.blake2b(digest_size=16)
        for part in (asked.name.encode(errors="surrogatepass"), repr(sorted((metadata or {}).items())).encode(), body):
            digest.update(len(part).to_bytes(8) + part)
        return await self._replays.answer(key, digest.digest(), ask)

    def _seconds(self, head: Head) -> float:
        return self._timeout if head.timeout is None else min(head.timeout, self._timeout)

    async def _misfit(self, asked: _Asked) -> Problem:
        """Why a function cannot be asked in any of the ways that a request allows."""
        try:
            known = await self._descriptions.get()
        except MpzmqError:  # it may not be asked for
            known = ()
        function = next((one for one in known if one.name == asked.name), None)
        return no_function(asked.name) if function is None else _wrong_way(function, asked.head)


class _Asked:
    """One request for a function."""

    __slots__ = ("args", "head", "kwargs", "lines", "name", "send")

    def __init__(
        self, name: str, args: list[Any], kwargs: dict[str, Any], head: Head, lines: Lines | None, send: Send
    ) -> None:
        self.name = name
        self.args = args
        self.kwargs = kwargs
        self.head = head
        self.lines = lines
        self.send = send


def no_function(name: str) -> Problem:
    """There is no such function; whether there is one that is not open, nobody is told."""
    return Problem(HTTPStatus.NOT_FOUND, "Unsupported", f"there is no function {name[:100]!r} here")


def _wrong_way(function: ExposedFunction, head: Head) -> Problem:
    accept = f"accept {SSE} or {NDJSON} for the items that it yields"
    send = f"send {NDJSON} for the items that it takes"
    if function.kind is None:
        takes = f"send {JSON} where it takes no items" if head.has_lines else f"{send}, if it does"
        hints = [] if JSON in head.accepted else [f"accept {JSON} for what it returns"]
        hints += [] if {SSE, NDJSON} & set(head.accepted) else [f"{accept}, if it does"]
        text = f"the function {function.name!r} is asked in another way: {', or '.join([*hints, takes])}"
        return Problem(HTTPStatus.NOT_ACCEPTABLE, "NotAcceptable", text)
    what = f"the function {function.name!r} is asked in another way"
    if (function.kind in ("upload", "channel")) != head.has_lines:
        text = f"{what}: it takes no items, so send application/json" if head.has_lines else f"{what}: {send}"
        return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", text)
    gives = function.kind in ("stream", "channel")
    text = f"{what}: {accept}" if gives else f"{what}: it yields nothing, so accept application/json"
    return Problem(HTTPStatus.NOT_ACCEPTABLE, "NotAcceptable", text)


def _result(value: Any) -> Answer:
    return Answer(200, b'{"result":%b}' % encoded(value), {})
