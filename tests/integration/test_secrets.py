"""Secrets are told to nobody: not by a log, however much it says, an error, a ``repr``, a page, or an HTTP answer."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    ComputerEngineWorker,
    ConnectError,
    ContainerServer,
    Join,
    RequestContext,
    Security,
)
from mpzmq.asgi import gateway
from tests.admin.client import get
from tests.asgi.visit import ask, call
from tests.support.scene import QUICK
from tests.support.secured import CONTAINER, ENGINE, STRANGER
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from pathlib import Path

TOKEN, GUESS = "a-long-random-token-of-runner-1", "another-guess-of-somebody-else"
HEADER = "Bearer of-somebody-who-asks-over-http"


def _secrets() -> list[str]:
    return [pair.secret for pair in (ENGINE, CONTAINER, STRANGER)] + [TOKEN, GUESS, HEADER]


async def test_a_lobby_with_keys_tells_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []

    def show(*things: object) -> None:
        for thing in things:
            shown.extend((repr(thing), str(thing)))
            if isinstance(thing, BaseException):
                shown.extend(traceback.format_exception(thing))
                shown.extend(map(repr, vars(thing).values()))

    trusted = tmp_path / "trusted.toml"
    trusted.write_text("")
    security = Security.server(ENGINE, allow=trusted)
    server = ContainerServer(name="calc", heartbeat=QUICK, security=Security.server(CONTAINER, allow=[ENGINE.public]))

    @server.function
    def fails(context: RequestContext) -> Any:
        raise ValueError("a bug")

    worker = ComputerEngineWorker(heartbeat=QUICK, security=Security.client(ENGINE, CONTAINER.public))
    async with worker, server:
        group = await worker.accept("tcp://127.0.0.1:0", tokens={"runner-1": TOKEN}, security=security)
        joining = Join(address=group.endpoint, token=TOKEN, security=Security.client(CONTAINER, ENGINE.public))
        await server.join(joining.address, token=joining.token, security=joining.security)
        await group.wait_ready(1)
        stranger = ContainerServer(name="stranger", heartbeat=QUICK)
        async with stranger:
            with pytest.raises(ConnectError) as refused:
                own = Security.client(STRANGER, ENGINE.public)
                await soon(stranger.join(group.endpoint, token=GUESS, security=own))
        container = await worker.connect(await server.bind("127.0.0.1:0"))
        pages = [await worker.bind_admin("127.0.0.1:0"), await server.bind_admin("127.0.0.1:0")]
        for url in pages:
            shown += [(await get(url, path)).text for path in ("/", "/status.json", "/readyz", "/livez")]

        def metadata(scope: Any) -> dict[str, Any]:
            return {"authorization": dict(scope["headers"]).get(b"authorization", b"").decode()}

        app = gateway(group, allow=["fails"], metadata=metadata)
        headers = {"authorization": HEADER, "idempotency-key": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}
        shown.append((await call(app, "fails", headers=headers)).body.decode())
        shown.append((await call(app, "fails", headers={"authorization": HEADER, "mpzmq-timeout": "x"})).body.decode())
        shown.append((await ask(app, "/openapi.json", method="GET")).body.decode())
        shown.append((await ask(app, "/healthz", method="GET")).body.decode())
        with pytest.raises(Exception, match="a bug") as failed:
            await container.options(metadata={"authorization": HEADER}).call("fails")
        show(refused.value, failed.value, worker, server, container, group, security, joining, *group.members, app)
        show(*server.engines(), worker.service(), worker.service().statistics(), server.statistics())
        await until(lambda: "its token is wrong" in caplog.text)
    assert len(caplog.records) > 50  # the wire's log is among them
    shown += [caplog.text, *(str(vars(record)) for record in caplog.records)]
    for secret in _secrets():
        assert not [text for text in shown if secret in text]
