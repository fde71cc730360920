"""Requests whose id the client has chosen."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from mpzmq.asgi import gateway, replays
from mpzmq.asgi.answers import Answer
from mpzmq.asgi.replays import Replays
from mpzmq.testing import connected
from tests.asgi.visit import JSON, call, visiting
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from mpzmq.asgi import Gateway
    from tests.asgi.conftest import Served

KEY = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
WITH_KEY = {"idempotency-key": KEY}


async def test_it_runs_once_and_is_answered_again(app: Gateway, served: Served) -> None:
    first = await call(app, "once", headers=WITH_KEY)
    again = await call(app, "once", headers={"idempotency-key": f'"{KEY.upper()}"'})

    assert first.json == again.json == {"result": 1}
    assert again.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    assert served.begun == 1
    assert (await call(app, "who", headers={"idempotency-key": str(UUID(int=9))})).json["result"][1] == str(UUID(int=9))


async def test_an_error_of_the_handler_is_answered_again(app: Gateway) -> None:
    answers = [await call(app, name, headers=WITH_KEY) for name in ("refuse", "refuse")]
    assert [answer.status for answer in answers] == [409, 409]
    assert answers[0].body == answers[1].body


async def test_something_else_under_the_same_id(app: Gateway) -> None:
    await call(app, "add", 1, headers=WITH_KEY)

    for answer in (await call(app, "add", 2, headers=WITH_KEY), await call(app, "once", headers=WITH_KEY)):
        assert (answer.status, answer.error["type"], answer.error["executed"]) == (422, "RequestIdReused", "NO")
        assert answer.error["request_id"] == KEY


async def test_someone_else_under_the_same_id(served: Served) -> None:
    async with connected(served.server) as container:
        app = gateway(container, allow=["once"], metadata=lambda scope: {"user": dict(scope["headers"])[b"user"]})
        assert (await call(app, "once", headers=WITH_KEY | {"user": "Ada"})).status == 200
        assert (await call(app, "once", headers=WITH_KEY | {"user": "Eve"})).status == 422
        assert (await call(app, "once", headers=WITH_KEY | {"user": "Ada"})).json == {"result": 1}


async def test_two_at_a_time_are_one(app: Gateway, served: Served) -> None:
    async with visiting(app, "/call/slow", b"[]", JSON | WITH_KEY) as first:
        await until(lambda: served.begun)
        async with visiting(app, "/call/slow", b"[]", JSON | WITH_KEY) as second:
            await asyncio.sleep(0)
            first.leave()  # the other one still waits for it
            await call(app, "add", 1)
            served.may_go_on.set()
    assert (first.status, second.json) == (0, {"result": "done"})
    assert (served.begun, served.ended) == (1, 0)


async def test_after_a_client_that_has_gone_its_container_is_asked_again(app: Gateway, served: Served) -> None:
    async with visiting(app, "/call/slow", b"[]", JSON | WITH_KEY) as visit:
        await until(lambda: served.begun)
        visit.leave()
    await until(lambda: served.ended)

    answer = await call(app, "slow", headers=WITH_KEY)

    assert (answer.status, answer.error["type"], answer.error["executed"]) == (502, "RequestCancelled", "YES")
    assert served.begun == 1


async def test_a_call_that_never_left_may_be_sent_again(app: Gateway, served: Served) -> None:
    assert (await call(app, "full", headers=WITH_KEY)).status == 429
    assert (await call(app, "full", headers=WITH_KEY)).headers.get("idempotency-replayed") is None
    assert (await call(app, "count", 1, headers={"idempotency-key": str(uuid4())})).status == 406


async def test_an_answer_that_is_not_kept_any_more(app: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "MAX_KEPT", 0)
    await call(app, "once", headers=WITH_KEY)

    answer = await call(app, "once", headers=WITH_KEY)

    assert (answer.status, answer.error["type"], answer.error["executed"]) == (422, "RequestIdReused", "UNKNOWN")
    assert "not kept any more" in answer.error["message"]


@pytest.mark.parametrize("headers", [{"accept": "text/event-stream"}, {"content-type": "application/x-ndjson"}])
async def test_what_goes_piece_by_piece_has_none(app: Gateway, headers: dict[str, str]) -> None:
    answer = await call(app, "count", 1, headers=WITH_KEY | headers)
    assert (answer.status, answer.error["type"]) == (400, "BadRequest")


async def test_what_is_kept_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = 0.0, 0
    kept = Replays(lambda: now)

    async def ask() -> tuple[Answer, bool]:
        nonlocal asked
        asked += 1
        return Answer(HTTPStatus.OK, bytes(100), {}), True

    async def times(key: int) -> int:
        before = asked
        await soon(kept.answer(UUID(int=key), b"", ask))
        return asked - before

    monkeypatch.setattr(replays, "MAX_KEPT", 3)
    assert [await times(key) for key in (1, 2, 3, 4, 4, 2, 1, 2)] == [1, 1, 1, 1, 0, 0, 1, 1]
    monkeypatch.setattr(replays, "KEPT_BYTES", 200)
    assert [await times(key) for key in (5, 6, 7, 6, 5)] == [1, 1, 1, 0, 1]
    now = replays.KEPT_FOR
    assert [await times(key) for key in (5, 5)] == [1, 0]


async def test_what_nobody_waits_for_is_ended() -> None:
    kept, ended = Replays(), asyncio.Event()

    async def ask() -> tuple[Answer, bool]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    waiting = [asyncio.create_task(kept.answer(UUID(int=1), b"", ask)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert not ended.is_set()
    waiting[1].cancel()
    await asyncio.wait(waiting[1:])
    assert ended.is_set()


async def test_what_is_being_ended_is_not_joined() -> None:
    kept, may_end, asked = Replays(), asyncio.Event(), 0

    async def ask() -> tuple[Answer, bool]:
        nonlocal asked
        asked += 1
        if asked == 2:
            return Answer(HTTPStatus.OK, b"", {}), True
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
        raise AssertionError

    first = asyncio.create_task(kept.answer(UUID(int=1), b"", ask))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    second = asyncio.create_task(kept.answer(UUID(int=1), b"", ask))
    for _ in range(5):
        await asyncio.sleep(0)
    assert asked == 1
    may_end.set()
    assert (await soon(second)).status == HTTPStatus.OK
    await asyncio.wait((first,))
