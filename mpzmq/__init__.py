"""An engine talks to containers: request and response over ZeroMQ, for asyncio.

The public names stand in ``public.py`` and are imported when they are asked for: a liveness probe and the pytest plugin
start with this package, too, and must not load the whole house.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import blocking as blocking
    from . import keys as keys
    from . import testing as testing
    from .public import *  # noqa: F403
    from .public import __all__ as __all__
else:
    import importlib

    def __getattr__(name: str) -> object:
        if name in ("blocking", "keys", "testing"):
            return importlib.import_module(f"{__name__}.{name}")
        public = importlib.import_module(f"{__name__}.public")
        if name != "__all__" and name not in public.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(public, name)
        return value

    def __dir__() -> list[str]:
        public = importlib.import_module(f"{__name__}.public")
        return sorted({*globals(), *public.__all__, "__all__", "blocking", "keys", "testing"})
