"""``mpzmq call``: one request from the shell."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ..errors import EncodeError, MpzmqError, Unsupported
from .jsonvalues import from_json, to_json
from .outcome import CommandFailed, as_document, carry_out, code_of
from .output import NOT_JSON, OK, USAGE, say_json
from .remote import check_endpoint, client_security, reached
from .wording import in_shell_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..engine.writer import ComputerEngineWriter

__all__ = ["run"]


def run(
    endpoint: str,
    function: str | None,
    args: Sequence[str],
    named: Sequence[str],
    data: str | None,
    *,
    timeout: float,
    idempotent: bool,
    security: tuple[str | None, str | None] = (None, None),
    as_json: bool,
) -> int:
    """Sends the request, prints its result as JSON, or the items of its stream; returns the exit code."""

    async def ask() -> int:
        check_endpoint(endpoint)
        if (function is None) == (data is None):
            raise CommandFailed("name a function, or send plain data with --invoke JSON", USAGE)
        keys = client_security(*security)
        values = [_value(text, f"argument {number}") for number, text in enumerate(args, 1)]
        keywords = dict(_named(text) for text in named)
        plain = None if data is None else _value(data, "the data of --invoke")
        if data is not None and (values or keywords):
            raise CommandFailed("--invoke sends its one value: it takes no arguments and no --kw", USAGE)
        began, shown = time.perf_counter(), "result"
        try:
            async with reached(endpoint, timeout, keys) as container:
                if function is None:
                    result = await container.request(plain, timeout=timeout, idempotent=idempotent)
                else:
                    view = container.options(timeout=timeout, idempotent=idempotent)
                    try:
                        result = await view.call(function, *values, **keywords)
                    except Unsupported as refused:
                        count = await _stream(container, function, values, keywords, timeout, as_json, refused)
                        # Its items are printed already; what is left to tell is how many they were.
                        if not as_json:
                            return OK
                        shown, result = "items", count
                status = container.status
        except EncodeError as error:
            raise CommandFailed(in_shell_words(error), NOT_JSON) from None
        except MpzmqError as error:
            if as_json:
                say_json(to_json({"error": as_document(error), "exit_code": code_of(error)}))
            raise
        if as_json:
            seconds = round(time.perf_counter() - began, 6)
            say_json(to_json({shown: result, "status": str(status), "seconds": seconds}))
        else:
            say_json(to_json(result))
        return OK

    return carry_out("mpzmq call", ask)


async def _stream(
    container: ComputerEngineWriter,
    function: str,
    values: Sequence[Any],
    named: Mapping[str, Any],
    timeout: float,
    as_json: bool,
    refused: Unsupported,
) -> int:
    """Prints what a function yields, one item a line; returns how many those were.

    Args:
        container: to ask.
        function: its name.
        values: the arguments.
        named: those by name.
        timeout: seconds for each item.
        as_json: whether each is put into a document.
        refused: what the container said to a call; it stands if a stream cannot be asked for either.
    """
    count = 0
    try:
        async with container.options(idle_timeout=timeout).stream(function, *values, **named) as stream:
            async for item in stream:
                count += 1
                say_json(to_json({"item": item} if as_json else item))
    except Unsupported:
        raise refused from None
    return count


def _value(text: str, what: str) -> Any:
    if text == "-":
        text, what = _read_stdin(), f"{what}, read from standard input,"
    try:
        return from_json(text)
    except ValueError as error:
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        hint = f"; a string needs quotes of its own: '\"{shown}\"'" if text.isidentifier() else ""
        raise CommandFailed(f"{what} is no JSON: {shown!r} ({error}){hint}", NOT_JSON) from None


def _named(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier()):
        raise CommandFailed(f"--kw takes NAME=JSON, as in --kw count=3, not {text!r}", USAGE)
    return name, _value(value, f"the value of {name}")


def _read_stdin() -> str:
    # JSON is UTF-8, whatever the locale of this process says.
    data = b"" if sys.stdin is None else sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(f"standard input is no UTF-8 text: {error}", NOT_JSON) from None
