"""``mpzmq call``: one request from the shell, or the same one to every container of a source."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ..common.json_values import from_json, to_json
from ..errors import EncodeError, MpzmqError, Unsupported
from .arguments import check_endpoint, client_security
from .members import ask_all, group_of, is_source, tell_all
from .outcome import CommandFailed, as_document, carry_out, code_of
from .output import NOT_JSON, OK, USAGE, say_json
from .remote import CONNECT_WITHIN, reached
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
    every: bool = False,
    as_json: bool,
) -> int:
    """Sends the request, prints its result as JSON, or the items of its stream; returns the exit code.

    Args:
        endpoint: of the container, or a source.
        function: its name; None: plain data.
        args: JSON, by position.
        named: ``NAME=JSON``.
        data: JSON of a plain request.
        timeout: seconds for the answer.
        idempotent: whether it may run twice.
        security: what ``--keys`` and ``--server-key`` say.
        every: whether all members of the source are asked.
        as_json: whether results and errors are documents.
    """

    async def ask() -> int:
        if not (every or is_source(endpoint)):
            check_endpoint(endpoint)
        if (function is None) == (data is None):
            raise CommandFailed("name a function, or send plain data with --invoke JSON", USAGE)
        keys = client_security(*security)
        values = [_value(text, f"argument {number}") for number, text in enumerate(args, 1)]
        keywords = dict(_named(text) for text in named)
        plain = None if data is None else _value(data, "the data of --invoke")
        if data is not None and (values or keywords):
            raise CommandFailed("--invoke sends its one value: it takes no arguments and no --kw", USAGE)

        async def ask_one(container: ComputerEngineWriter) -> Any:
            view = container.options(timeout=timeout, idempotent=idempotent, wait=not every)
            return await (view.request(plain) if function is None else view.call(function, *values, **keywords))

        if every:
            within = min(timeout, CONNECT_WITHIN)
            async with group_of(endpoint, within, keys) as group:
                results, errors = await ask_all(group, within, ask_one)
            return tell_all("mpzmq call", results, errors, as_json=as_json, show=_show_result, encode=to_json)
        began, shown = time.perf_counter(), "result"
        try:
            async with reached(endpoint, timeout, keys) as container:
                try:
                    result = await ask_one(container)
                except Unsupported as refused:
                    if function is None:
                        raise
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


def _show_result(name: str, result: Any) -> None:
    say_json(to_json({name: result}))


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
