"""Whether the methods of an object are what an interface says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..common.text import repr_of, text_of
from ..typed.compatibility import breaks
from ..typed.interface import checked_interface, methods_of
from ..typed.schema import document, interface_schema
from .registry import Function

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fitting_methods"]


def fitting_methods(of: object, interface: type) -> dict[str, Callable[..., Any]]:
    """The methods of an object that an interface names.

    Args:
        of: the object.
        interface: the class.

    Raises:
        TypeError: one is missing, or does not fit; or it is no interface.
    """
    wanted = methods_of(interface)
    shown = checked_interface(interface).__name__
    found, schemas = {}, {}
    for name in wanted:
        handler = getattr(of, name, None)
        if not callable(handler):
            raise TypeError(f"{repr_of(of)} has no method {name!r}, which {shown} names")
        function = Function(name, handler)
        try:
            function.learn_types()
        except NameError as error:
            raise TypeError(f"{repr_of(handler)}: an annotation cannot be resolved: {text_of(error)}") from error
        assert function.typed is not None
        found[name], schemas[name] = handler, function.typed.schema()
    misfits = breaks(interface_schema(wanted), document(schemas))
    if misfits:
        raise TypeError(f"{repr_of(of)} does not fit {shown}: " + "; ".join(misfits))
    return found
