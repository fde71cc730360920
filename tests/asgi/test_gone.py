"""A client that has gone leaves no handler, wherever it goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from mpzmq.asgi import gateway
from mpzmq.testing import connected
from tests.asgi.visit import JSON, LINES, Visit, visiting
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from mpzmq.asgi import Gateway
    from tests.asgi.conftest import Served

EVENTS = JSON | {"accept": "text/event-stream"}
BOTH = LINES | {"accept": "application/x-ndjson"}
KEY = JSON | {"idempotency-key": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}


@pytest.mark.parametrize(("name", "headers"), [("slow", JSON), ("slow", KEY), ("stuck", EVENTS), ("follow", EVENTS)])
async def test_while_a_function_works(app: Gateway, served: Served, name: str, headers: dict[str, str]) -> None:
    async with visiting(app, f"/call/{name}", b"[]", headers) as visit:
        await until(lambda: served.running)
        visit.leave()
    assert not visit.is_over
    await until(lambda: served.ended == 1)


@pytest.mark.parametrize(("name", "headers"), [("total", LINES), ("talk", BOTH), ("take_nothing", LINES)])
async def test_in_the_middle_of_its_body(app: Gateway, served: Served, name: str, headers: dict[str, str]) -> None:
    async with visiting(app, f"/call/{name}", None, headers) as visit:
        visit.say(b'["!"]\n' if name == "talk" else b"[]\n", more=True)
        await until(lambda: served.running)
        visit.say(b"1\n", more=True)
        visit.leave()
    assert not visit.is_over
    await until(lambda: not served.running)


async def test_behind_its_body(app: Gateway, served: Served) -> None:
    async with visiting(app, "/call/take_nothing", b"[]\n1\n", LINES) as visit:
        await until(lambda: served.running)
        visit.leave()
    await until(lambda: served.ended == 1)


@pytest.mark.parametrize("headers", [JSON, LINES])
async def test_before_anything_was_asked(app: Gateway, served: Served, headers: dict[str, str]) -> None:
    async with visiting(app, "/call/slow", None, headers) as visit:
        visit.say(b"[", more=True)
        visit.leave()
    assert (visit.status, served.begun) == (0, 0)


async def test_whoever_cancels_the_application_is_obeyed(app: Gateway, served: Served) -> None:
    visit = Visit("/call/slow", JSON)
    visit.say(b"[]")
    task = asyncio.ensure_future(app(visit.scope, visit.receive, visit.send))
    await until(lambda: served.running)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    await until(lambda: served.ended == 1)


async def test_500_clients_that_vanish_leave_no_handler(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["slow", "follow", "talk"])
        visits, tasks = [], []
        for number in range(500):
            name, body, headers = (
                ("slow", b"[]", JSON), ("follow", b"[]", EVENTS), ("talk", b'["!"]\n"a"\n', BOTH),
            )[number % 3]  # fmt: skip
            visit = Visit(f"/call/{name}", headers)
            visit.say(body, more=name == "talk")
            visits.append(visit)
            tasks.append(asyncio.ensure_future(app(visit.scope, visit.receive, visit.send)))
        await until(lambda: served.running == 500)

        for visit in visits:
            visit.leave()

        await soon(asyncio.gather(*tasks))
        await until(lambda: served.running == 0 and served.server.statistics().in_flight == 0)
        assert container.statistics().in_flight == 0
        assert not any(visit.is_over for visit in visits)
