"""``mpzmq gateway``: functions over HTTP, from the shell."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from ..asgi.application import gateway
from ..asgi.known_hosts import for_known_hosts
from ..common.extras import required
from ..container.process import loop_factory
from .arguments import client_security
from .http_serving import serve
from .outcome import CommandFailed, finish
from .output import MISSING_EXTRA, USAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..asgi.types import Scope
    from .http_serving import Listening

__all__ = ["Opened", "run"]


class Opened(NamedTuple):
    """What is open to whom.

    Attributes:
        allowed: the names of functions.
        headers: those that go along as metadata.
        bounds: arguments of :func:`mpzmq.asgi.gateway`.
    """

    allowed: Sequence[str]
    headers: Sequence[str]
    bounds: Mapping[str, Any]


def run(
    source: str,
    opened: Opened,
    listening: Listening,
    security: tuple[str | None, str | None],
    *,
    log_level: str,
    as_json: bool,
) -> int:
    """Serves until a signal; returns the exit code.

    Args:
        source: of the containers.
        opened: what is open.
        listening: where it listens.
        security: what ``--keys`` and ``--server-key`` say.
        log_level: of the log on stderr.
        as_json: whether the URL is printed as JSON.
    """

    def work() -> int:
        try:
            required("uvicorn", "gateway", "mpzmq gateway")
            headers = [name.lower() for name in opened.headers]
            app = gateway(
                source,
                allow=opened.allowed,
                metadata=_metadata(headers) if headers else None,
                security=client_security(*security),
                **opened.bounds,
            )
            runner = asyncio.Runner(loop_factory=loop_factory(listening.loop))
        except ImportError as error:
            raise CommandFailed(str(error), MISSING_EXTRA) from None
        except (TypeError, ValueError) as error:
            raise CommandFailed(str(error), USAGE) from None
        logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        with runner:
            names = {name.lower() for name in (*listening.names, listening.host)}
            return runner.run(serve(for_known_hosts(app, names), listening, "the gateway", as_json=as_json))

    return finish("mpzmq gateway", work)


def _metadata(names: Sequence[str]) -> Any:
    wanted = {name.encode("latin-1"): name for name in names}

    def metadata(scope: Scope) -> dict[str, str]:
        return {wanted[name]: value.decode("latin-1") for name, value in scope["headers"] if name in wanted}

    return metadata
