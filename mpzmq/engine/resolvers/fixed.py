"""Members that do not change: a list, and a variable of the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

__all__ = ["Fixed", "from_environment", "from_text"]


class Fixed:
    """The members that were given, for good.

    Raises:
        TypeError, ValueError: one of them is none, or two have one name.
    """

    def __init__(self, members: Iterable[str | Endpoint]) -> None:
        self._endpoints = [member if isinstance(member, Endpoint) else Endpoint(member) for member in members]
        named: dict[str, str] = {}
        for endpoint in self._endpoints:
            if named.setdefault(endpoint.name, endpoint.address) != endpoint.address:
                raise ValueError(
                    f"{named[endpoint.name]} and {endpoint.address} have one name, {endpoint.name!r}: members are"
                    " told apart by their names"
                )

    async def watch(self) -> AsyncIterator[Iterable[str | Endpoint]]:
        """All of them, once."""
        yield self._endpoints


def from_text(text: str) -> Fixed:
    """Addresses, separated by commas.

    Raises:
        ValueError: one is malformed, or there is none.
    """
    addresses = [address for part in text.split(",") if (address := part.strip())]
    if not addresses:
        raise ValueError(f"{text!r} has no address")
    return Fixed(addresses)


def from_environment(variable: str) -> Fixed:
    """The addresses in a variable, separated by commas, as it is now.

    Raises:
        ValueError: it is not set, or has no address, or a malformed one.
    """
    value = os.environ.get(variable)
    if value is None:
        raise ValueError(f"the variable {variable!r} of the environment is not set")
    try:
        return from_text(value)
    except ValueError as error:
        raise ValueError(f"the variable {variable!r} of the environment: {error}") from None
