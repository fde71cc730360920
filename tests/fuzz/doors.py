"""All doors through which strangers come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .http_doors import AdminDoor, GatewayDoor
from .json_door import JsonDoor
from .lobby_door import LobbyDoor
from .rust_doors import RustClientDoor, RustContainerDoor
from .wire_door import WireDoor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .door import Door

__all__ = ["DOORS"]


DOORS: dict[str, Callable[[], Door]] = {
    "wire": WireDoor,
    "rust-client": RustClientDoor,
    "rust-container": RustContainerDoor,
    "lobby": LobbyDoor,
    "gateway": GatewayDoor,
    "admin": AdminDoor,
    "json": JsonDoor,
}
