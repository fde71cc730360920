"""For tests of programs that use mpzmq: containers in this process or in others, and a network that fails on demand.

The names are imported when they are asked for: the pytest plugin lives here, too, and must not load the whole house.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .factories import ContainerFactory as ContainerFactory
    from .factories import ProxyFactory as ProxyFactory
    from .factories import ServedHere as ServedHere
    from .factories import ServedProcess as ServedProcess
    from .in_process import connected as connected
    from .members import Members as Members
    from .process import ContainerProcess as ContainerProcess
    from .process import StartFailed as StartFailed
    from .proxy import Proxy as Proxy
else:
    from .._lazy import lazy_names as _lazy_names

    _HOMES = {
        "ContainerFactory": "factories",
        "ContainerProcess": "process",
        "Members": "members",
        "Proxy": "proxy",
        "ProxyFactory": "factories",
        "ServedHere": "factories",
        "ServedProcess": "factories",
        "StartFailed": "process",
        "connected": "in_process",
    }

    __getattr__, __dir__ = _lazy_names(__name__, _HOMES)


__all__ = [
    "ContainerFactory",
    "ContainerProcess",
    "Members",
    "Proxy",
    "ProxyFactory",
    "ServedHere",
    "ServedProcess",
    "StartFailed",
    "connected",
]
