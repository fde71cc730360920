"""Whether a container offers what an interface wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import Unsupported
from ..typed.compatibility import breaks
from ..typed.schema import interface_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..protocol.requester.error_factory import RequestErrors
    from ..typed.interface import Method

__all__ = ["check_offer"]


def check_offer(
    interface: type, methods: Mapping[str, Method], schema: Mapping[str, Any] | None, whom: RequestErrors
) -> None:
    """Compares an interface with what a container offers.

    Args:
        interface: the class.
        methods: of it.
        schema: the container's; None: it has none.
        whom: names the container in errors.

    Raises:
        TypeError: it does not offer that, and where the two differ.
        Unsupported: it has no schema.
    """
    if schema is None:
        text = f"{whom.whom} has no schema: make it with typed=True, or install a version of mpzmq that knows schemas"
        raise Unsupported(text, remote_id=whom.remote_id, name=whom.name)
    found = breaks(interface_schema(methods), schema)
    if found:
        raise TypeError(f"{whom.whom} does not offer {interface.__qualname__}: " + "; ".join(found))
