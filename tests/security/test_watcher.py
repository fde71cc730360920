"""The allow-list while the container runs: who is added gets in, who is removed is cut off, who may call what."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import (
    AuthenticationFailed,
    ConnectionLost,
    EngineJoined,
    EngineLeft,
    Executed,
    Limits,
    LinkFailed,
    LinkState,
    NotPermitted,
    Refused,
    RequestError,
    Status,
    Unsupported,
)
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Kind, Op
from tests.support.secured import ENGINE, STRANGER, Secured
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = Limits()


async def test_an_added_key_gets_in(secured: Secured) -> None:
    with pytest.raises(AuthenticationFailed):
        await secured.connect(STRANGER)
    secured.allow("stranger", STRANGER)

    async def gets_in() -> Any:
        while True:
            try:
                return await secured.connect(STRANGER)
            except AuthenticationFailed:
                await asyncio.sleep(0.05)

    container = await soon(gets_in())
    assert (await container.call("whoami"))[0] == "stranger"


async def test_a_removed_key_is_cut_off_from_a_live_connection(secured: Secured) -> None:
    """What runs for it is cancelled, what waits fails, the link has FAILED and says why; others notice nothing."""
    ended: list[str] = []
    started = asyncio.Event()

    @secured.server.function
    async def stay() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("stay")

    secured.allow("other", STRANGER)
    await until(lambda: secured.server._driver and len(secured.server._driver._allow_list_watcher.users) == 2)  # type: ignore[union-attr]
    other = await secured.connect(STRANGER)
    events = secured.worker.service().events()
    container = await secured.connect()
    call = asyncio.create_task(container.call("stay"))
    await started.wait()
    secured.revoke("engine")
    with pytest.raises(ConnectionLost) as caught:
        await soon(call)
    assert caught.value.executed is not Executed.NO
    failed = await event_of(events, LinkFailed)
    assert "not on the container's allow-list" in failed.reason
    assert container.state is LinkState.FAILED and isinstance(container.last_error, AuthenticationFailed)
    await until(lambda: ended)
    assert await other.call("add", 1, 2) == 3
    with pytest.raises(AuthenticationFailed):
        await secured.connect()
    counted = secured.server.statistics()
    assert counted.received == counted.replied + counted.cancelled + counted.failed + counted.refused


async def test_a_removed_key_that_goes_on_sending_is_not_even_read(
    secured: Secured, raw_curve: Callable[[], Any]
) -> None:
    """Nothing of an engine that ignores the GOODBYE is served."""
    raw = raw_curve()
    encoder = Encoder(LIMITS)
    hello = wire.hello(uuid.uuid4(), 1, "raw", 2.0, LIMITS)
    raw.send_multipart([bytes(16), encoder.pack(hello)])
    await until(lambda: secured.server.statistics().sessions == 1)
    secured.revoke("engine")
    await until(lambda: secured.server.statistics().sessions == 0)
    before = secured.server.statistics()
    for number in range(1, 51):
        request = [Kind.REQUEST, number, 1000, 0, Op.INVOKE, None, ["x"], None, None]
        raw.send_multipart([bytes(15) + bytes([number]), encoder.pack(request)])
    raw.send_multipart([bytes(16), encoder.pack([*hello[:3], 2, *hello[4:]])])
    await until(lambda: secured.server.statistics().ignored >= before.ignored + 51)
    after = secured.server.statistics()
    assert (after.received, after.sessions, secured.ran) == (before.received, 0, [])


async def test_permissions_per_function(secured: Secured) -> None:
    secured.allow("engine", ENGINE, "add", "state:get")
    container = await secured.connect()

    async def denied() -> bool:
        try:
            await container.request("probe")
        except NotPermitted:
            return True
        return False

    while not await denied():  # noqa: ASYNC110  (what is waited for sets no event)
        await asyncio.sleep(0.02)
    secured.ran.clear()
    assert await container.call("add", 1, 2) == 3
    assert await container.get_state() is Status.RUNNING
    asked: list[Callable[[], Any]] = [
        lambda: container.call("whoami"),
        lambda: container.call("nothing"),
        lambda: container.request("x"),
        lambda: container.set_state(Status.STOP),
        lambda: container.describe(),
    ]
    for ask in asked:
        with pytest.raises(NotPermitted, match="no permission for") as caught:
            await ask()
        assert caught.value.executed is Executed.NO
        assert isinstance(caught.value, Refused) and isinstance(caught.value, PermissionError)
    assert secured.ran == ["add"]
    # A fallback is for a container that cannot do something, not for one that forbids it.
    before = secured.server.statistics().refused
    with pytest.raises(NotPermitted) as caught:
        await container.request("x", fallback="y")
    assert secured.server.statistics().refused == before + 1 and not caught.value.fallback_sent


async def test_a_name_that_is_not_there_gives_nothing_away(secured: Secured) -> None:
    secured.allow("engine", ENGINE, "ad", "whoami")
    container = await secured.connect()

    async def message() -> str:
        with pytest.raises(RequestError) as caught:
            await container.call("ad")
        return str(caught.value) if isinstance(caught.value, Unsupported) else ""

    while "it has whoami" not in (told := await message()):  # noqa: ASYNC110  (as above)
        await asyncio.sleep(0.02)
    assert "add" not in told


async def test_a_list_that_cannot_be_read_changes_nothing(secured: Secured, caplog: pytest.LogCaptureFixture) -> None:
    container = await secured.connect()
    (secured.folder / "engine.pub").write_text("public-key = ")
    await until(lambda: "cannot be read, and nobody is added" in caplog.text)
    assert await container.call("add", 1, 2) == 3
    await secured.connect()
    with pytest.raises(AuthenticationFailed):
        await secured.connect(STRANGER)
    secured.allow("engine", STRANGER)
    await until(lambda: container.state is LinkState.FAILED)
    await secured.connect(STRANGER)


async def test_who_has_no_file_any_more_is_out_even_if_another_file_is_bad(secured: Secured) -> None:
    (secured.folder / "bad.pub").write_text("no key")
    container = await secured.connect()
    secured.revoke("engine")
    await until(lambda: container.state is LinkState.FAILED)
    with pytest.raises(AuthenticationFailed):
        await secured.connect()


async def test_another_users_session_is_not_to_be_had(secured: Secured, raw_curve: Callable[..., Any]) -> None:
    """The session's id alone opens nothing: it belongs to the key with which it began."""
    secured.allow("other", STRANGER)
    await until(lambda: secured.server._driver and len(secured.server._driver._allow_list_watcher.users) == 2)  # type: ignore[union-attr]
    session = uuid.uuid4()
    encoder = Encoder(LIMITS)
    first, thief = raw_curve(ENGINE), raw_curve(STRANGER)
    first.send_multipart([bytes(16), encoder.pack(wire.hello(session, 1, "first", 2.0, LIMITS))])
    await until(lambda: secured.server.statistics().sessions == 1)
    thief.send_multipart([bytes(16), encoder.pack(wire.hello(session, 9, "thief", 2.0, LIMITS))])
    await until(lambda: secured.server.statistics().sessions == 2)
    tag = bytes(15) + b"\1"
    request = [Kind.REQUEST, 1, 1000, 0, Op.CALL, "whoami", [], None, None]
    first.send_multipart([tag, encoder.pack(request)])
    await until(lambda: secured.ran == ["whoami"])
    # The same id in the other session is another request, which runs for itself.
    thief.send_multipart([tag, encoder.pack(request)])
    await until(lambda: secured.ran == ["whoami", "whoami"])


async def test_who_comes_and_goes_is_told_by_name(secured: Secured) -> None:
    told: list[EngineJoined | EngineLeft] = []
    secured.server.on_engine_change(told.append)
    await secured.connect()
    await until(lambda: told)
    assert told[0].user == "engine"
    assert [engine.user for engine in secured.server.engines()] == ["engine"]
    secured.revoke("engine")
    await until(lambda: len(told) == 2)
    assert told[1].reason == "its key is not allowed any more"
