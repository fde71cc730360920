"""Source: what a resolver tells, made fit to be relied on."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import ipaddress
from collections.abc import AsyncIterable, Iterable
from dataclasses import replace
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

from ...address import parse_address
from ...common.logs import Log
from ...common.text import repr_of, text_of, type_name
from .endpoint import Endpoint
from .polling import Alarm

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .resolver import Resolver

__all__ = ["MAX_ENDPOINTS", "Source"]

log = Log(__name__)

MAX_ENDPOINTS = 10_000
"""Of one source. What is named beyond them is left out."""

MAX_REMEMBERED = 1000
"""Complaints that are not repeated."""


class Source:
    """The members that a source names: checked, each once, under names of their own.

    What cannot be used is logged once, and costs nobody else. A resolver that fails changes nothing, and is asked
    again.

    Args:
        text: what the source is called in log and errors.
        resolver: says who the members are.
        pause: seconds until a resolver that has failed is asked again.
        vouches: whether the keys that it names are to be trusted, as the program's own words are; what stands in files
            is only as good as whoever may write there.
    """

    def __init__(self, text: str, resolver: Resolver, *, pause: float, vouches: bool = True) -> None:
        self.text = text
        self.vouches = vouches
        self.trouble = ""
        """Why the resolver does not say anything now; empty: it does."""
        self._resolver = resolver
        self._pause = pause
        self._alarm = Alarm()
        self._owners: dict[str, str] = {}  # a name to the target that has it, as long as that is there
        self._told: dict[str, None] = {}

    def __repr__(self) -> str:
        return f"<Source {self.text!r}{f': {self.trouble}' if self.trouble else ''}>"

    def why_joined(self, endpoint: Endpoint) -> str:
        """Why a member is there."""
        return f"it is named, at {endpoint.address}"

    def why_left(self, name: str) -> str:
        """Why a member is not named any more."""
        return "it is not named any more"

    def poke(self) -> None:
        """Somebody has a reason to look at once: a member was lost."""
        self._alarm.ring()
        try:
            if not callable(poke := getattr(self._resolver, "poke", None)):
                return
            outcome = poke()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whoever tells of a loss has more to do behind it
            self._tell_once(f"poke() has raised {type_name(error)}: {text_of(error)}")
        else:
            if inspect.iscoroutine(outcome):
                outcome.close()
                self._tell_once("poke() is a plain method, 'def' and not 'async def': it is not awaited")

    async def watch(self) -> AsyncGenerator[tuple[Endpoint, ...]]:
        """The members, now and whenever they change. It ends where they cannot change any more.

        The first item comes even if the first look-up fails: it is empty then, and ``trouble`` says why.
        """
        known: tuple[Endpoint, ...] | None = None
        while True:
            try:
                items = self._items()
                async with _closing(items):
                    async for item in items:
                        found = self._checked(item)
                        self._recover()
                        if found != known:
                            known = found
                            yield found
                        await asyncio.sleep(0)  # one that never waits would keep the event loop to itself
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                self._complain(error)  # of the resolver's own: nobody has ended the watch
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # sys.exit(), too: it must not end what others wait for
                self._complain(error)
            else:
                if known is None:
                    yield ()
                return
            if known is None:
                known = ()
                yield known
            await self._alarm.wait(self._pause)

    def _items(self) -> AsyncIterable[Any]:
        items: Any = self._resolver.watch()
        if isinstance(items, AsyncIterable):
            return items
        if inspect.iscoroutine(items):
            items.close()  # it would be complained of that nobody awaits it
        raise TypeError(f"watch() is an async generator, 'async def' with a 'yield', and returns {type_name(items)}")

    def _checked(self, item: object) -> tuple[Endpoint, ...]:
        if isinstance(item, str | bytes) or not isinstance(item, Iterable):
            raise TypeError(f"a resolver yields iterables of addresses and Endpoints, not {type_name(item)}")
        entries = list(islice(item, MAX_ENDPOINTS + 1))
        if len(entries) > MAX_ENDPOINTS:
            self._tell_once(f"it names more than {MAX_ENDPOINTS} members: the others are left out")
        found: dict[str, Endpoint] = {}
        for entry in entries[:MAX_ENDPOINTS]:
            try:
                endpoint = entry if isinstance(entry, Endpoint) else Endpoint(entry)
            except (TypeError, ValueError) as error:
                self._tell_once(f"{repr_of(entry, 100)} is left out: {text_of(error)}")
                continue
            if found.setdefault(_target(endpoint), endpoint) is not endpoint:
                self._tell_once(f"{endpoint.address} is named twice, and is one member")
        return self._named_apart(found)

    def _named_apart(self, found: dict[str, Endpoint]) -> tuple[Endpoint, ...]:
        """Gives a name to whoever had it first; another one is called by its address."""
        self._owners = {
            name: target
            for name, target in self._owners.items()
            if (endpoint := found.get(target)) is not None and name in (endpoint.name, endpoint.address, target)
        }
        told = []
        for target, endpoint in found.items():
            others = (f"{endpoint.name} at {target} ({number})" for number in count(1))
            for name in chain((endpoint.name, endpoint.address, target), others):
                if self._owners.setdefault(name, target) == target:
                    break
            if name != endpoint.name:
                self._tell_once(f"{endpoint.name!r} is the name of another member: {target} is called {name!r}")
            told.append(replace(endpoint, name=name))
        return tuple(told)

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told[text] = None
            if len(self._told) > MAX_REMEMBERED:
                del self._told[next(iter(self._told))]
            log.warning("%s: %s", self.text, text)

    def _complain(self, error: BaseException) -> None:
        # Not isinstance(), which asks the error itself: one of a class of the application may raise then.
        said = error.strerror if issubclass(type(error), OSError) else None  # type: ignore[attr-defined]
        why = said or text_of(error) or type_name(error)
        if why != self.trouble:
            self.trouble = why
            log.warning("%s: %s; its members stay as they are", self.text, why)

    def _recover(self) -> None:
        if self.trouble:
            self.trouble = ""
            log.info("%s: it is there again", self.text)


def _target(endpoint: Endpoint) -> str:
    """An address without the forms in which it can be written."""
    address = parse_address(endpoint.address)
    if address.path:
        return address.endpoint()
    host = str(ipaddress.ip_address(address.host)) if address.is_numeric else address.host.lower()
    return address.endpoint(host)


def _closing(items: Any) -> contextlib.AbstractAsyncContextManager[Any]:
    """An iterator of another kind than a generator has nothing to be closed."""
    return contextlib.aclosing(items) if hasattr(items, "aclose") else contextlib.nullcontext()
