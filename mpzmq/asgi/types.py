"""ASGI, as far as it is used here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

__all__ = ["Message", "Metadata", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
"""What a server says of a request."""

Message = MutableMapping[str, Any]
"""An event, by its ``type``."""

Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Metadata = Mapping[str, Any] | Callable[[Scope], "Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None"]
"""What goes along with each call: a mapping, or what makes one of the scope of a request."""
