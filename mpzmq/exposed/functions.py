"""The functions that are open to others, as their containers describe them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..engine.writer import ComputerEngineWriter
from ..errors import NotConnected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .allowed import Allowed
    from .target import Container

__all__ = ["LEAST_TIME", "ExposedFunction", "described"]

LEAST_TIME = 0.001
"""Seconds for what comes last, where all that were given have been used up."""


@dataclass(frozen=True, slots=True)
class ExposedFunction:
    """One function that may be called.

    Attributes:
        name: its name.
        signature: as text.
        doc: the first line of its docstring; may be empty.
        schema: what it takes and returns, as ``mpzmq schema`` prints it, with JSON Schemas of values as mpzmq carries
            them; None: it is not typed.
    """

    name: str
    signature: str
    doc: str
    schema: Mapping[str, Any] | None = field(default=None, hash=False)

    @property
    def kind(self) -> str | None:
        """``"call"``, ``"stream"``, ``"upload"`` or ``"channel"``; None: it is not typed, and nobody has said."""
        return None if self.schema is None else str(self.schema["kind"])


async def described(container: Container, allowed: Allowed, timeout: float) -> tuple[ExposedFunction, ...]:
    """The functions that there are and that may be called, by name.

    Args:
        container: whom to ask; of a group one member that is there.
        allowed: which of its functions.
        timeout: seconds for all of it, a member of the group that has to come first included.

    Raises:
        NotConnected, ConnectError: there is nobody to ask.
        RequestError: it was asked, and has not told.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    if not isinstance(container, ComputerEngineWriter):
        await container.wait_ready(timeout=timeout)
        handles = [container.handle(member.name) for member in container.members]
        running = next((handle for handle in handles if handle.is_running()), None)
        if running is None:
            raise NotConnected(f"no member of {container.name} is there now")
        container = running
    found = await container.describe(timeout=max(deadline - loop.time(), LEAST_TIME), schema=True)
    schemas: Mapping[str, Any] = {} if found.schema is None else found.schema["functions"]
    return tuple(
        ExposedFunction(one.name, one.signature, one.doc, schemas.get(one.name))
        for one in sorted(found.functions, key=lambda one: one.name)
        if one.name in allowed
    )
