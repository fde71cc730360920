"""``mpzmq top``: the containers of some sources, live."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...common.text import printable
from ...engine.worker import ComputerEngineWorker
from ..arguments import client_security
from ..layout import columns, on_terminal, say_wrapped
from ..live_tables import can_draw
from ..members import opened
from ..outcome import carry_out
from ..output import OK, UNREACHABLE, say, say_json
from ..remote import CONNECT_WITHIN
from .table import View, document, legend, notes, plain_table, rich_table
from .terminal import keys, screen
from .watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console, RenderableType

    from ..inquiry import Keys

__all__ = ["Options", "top"]

QUIT = "q"


@dataclass(frozen=True, slots=True)
class Options:
    """What ``mpzmq top`` was asked.

    Attributes:
        once: whether it looks once, as soon as there is something to see of every container.
        count: how often it shows something; None: until it is ended.
        interval: seconds between two looks.
        timeout: seconds for each answer.
        view: how the containers are looked at, at first.
        as_json: whether documents are printed.
    """

    once: bool
    count: int | None
    interval: float
    timeout: float
    view: View
    as_json: bool

    @property
    def is_live(self) -> bool:
        """Whether a terminal is drawn on."""
        return not (self.once or self.as_json) and can_draw()


def top(sources: Sequence[str], options: Options, security: Keys = (None, None)) -> int:
    """Shows containers until it is ended; returns the exit code.

    Args:
        sources: endpoints, and sources of several.
        options: what is shown, and how often.
        security: what ``--keys`` and ``--server-key`` say.
    """

    async def watch() -> int:
        within = min(options.timeout, CONNECT_WITHIN)
        async with ComputerEngineWorker(security=client_security(*security)) as worker:
            groups = [await opened(worker, source, within, wait=False) for source in dict.fromkeys(sources)]
            watching = Watch(groups, options.interval, options.timeout)
            try:
                if options.once:
                    await watching.settle(within)
                    await _look(watching, options)
                    return _verdict(watching)
                return await _until_ended(watching, options, within)
            finally:
                await watching.close()

    return carry_out("mpzmq top", watch)


async def _until_ended(watching: Watch, options: Options, within: float) -> int:
    """Looks again and again; a key and Ctrl-C are the usual end."""
    looking = asyncio.ensure_future(_look_live(watching, options) if options.is_live else _look(watching, options))
    settling = asyncio.ensure_future(watching.settle(within))  # it finds out why a source has no containers
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, looking.cancel)
    try:
        await asyncio.wait((looking,))
        return OK if looking.cancelled() else looking.result()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        looking.cancel()
        settling.cancel()
        await asyncio.wait((looking, settling))


async def _look_live(watching: Watch, options: Options) -> int:
    view = options.view
    task = asyncio.current_task()
    assert task is not None

    def pressed(key: str) -> None:
        nonlocal view
        if key == QUIT:
            task.cancel()
        else:
            view = view.pressed(key)
            draw()

    with screen(lambda console: _drawn(watching, view, console)) as draw, keys(pressed):
        await _rounds(watching, options, draw)
    return OK


async def _look(watching: Watch, options: Options) -> int:
    """Prints what there is to see, as text or as documents."""
    rounds = 0

    def show() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:  # what comes in a second is the difference of two
            return
        if options.as_json:
            found = {"containers": document(watching.rows()), "missing": watching.missing()}
            say_json(json.dumps(found, ensure_ascii=False))
            return
        if rounds > 2:
            say("")
        rows = watching.rows()
        for line in plain_table(rows, options.view, columns() if on_terminal() else None):
            say(line)
        for note in _notes(watching):
            say_wrapped("", note)

    await _rounds(watching, options, show, before=1)
    return OK


async def _rounds(watching: Watch, options: Options, show: Callable[[], None], before: int = 0) -> None:
    """Asks all containers at each interval, and shows what they have told.

    Args:
        watching: the containers.
        options: how often.
        show: shows it.
        before: rounds more than were asked for.
    """
    loop = asyncio.get_running_loop()
    count = 1 if options.once else options.count
    last = None if count is None else count + before
    number = 0
    while True:
        number += 1
        due = loop.time() + options.interval
        watching.ask()
        # Once means that nobody is left out who answers in time. Live, nobody waits for one that hangs.
        await watching.answered(options.timeout if options.once else options.interval)
        show()
        if number == last:
            return
        await asyncio.sleep(max(0.0, due - loop.time()))


def _drawn(watching: Watch, view: View, console: Console) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = watching.rows()
    unicode = "utf" in (console.encoding or "").lower()
    table = rich_table(rows, view, console.width, unicode=unicode)
    return Group(Text(legend(view), "dim"), table, *(Text(note, "yellow") for note in _notes(watching)))


def _notes(watching: Watch) -> list[str]:
    missing = [printable(f"{source}: {why}") for source, why in watching.missing().items()]
    return [*notes(watching.rows()), *missing]


def _verdict(watching: Watch) -> int:
    """The exit code: whether one container at least could be talked to."""
    return OK if any(row.rtt is not None for row in watching.rows()) else UNREACHABLE
