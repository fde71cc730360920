"""For tests of programs that use mpzmq: containers in this process or in others, and a network that fails on demand.

The names are imported when they are asked for: the pytest plugin lives here, too, and must not load the whole house.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .factories import ContainerFactory as ContainerFactory
    from .factories import ProxyFactory as ProxyFactory
    from .factories import ServedHere as ServedHere
    from .factories import ServedProcess as ServedProcess
    from .here import connected as connected
    from .process import ContainerProcess as ContainerProcess
    from .process import StartFailed as StartFailed
    from .proxy import Proxy as Proxy
else:
    import importlib

    _HOMES = {
        "ContainerFactory": "factories",
        "ContainerProcess": "process",
        "Proxy": "proxy",
        "ProxyFactory": "factories",
        "ServedHere": "factories",
        "ServedProcess": "factories",
        "StartFailed": "process",
        "connected": "here",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})


__all__ = [
    "ContainerFactory",
    "ContainerProcess",
    "Proxy",
    "ProxyFactory",
    "ServedHere",
    "ServedProcess",
    "StartFailed",
    "connected",
]
