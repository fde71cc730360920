"""Bad input: each gets its typed error or an error reply; nothing hangs, nothing dies, no other request is touched."""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq
import zmq.auth.thread

from mpzmq import (
    AuthenticationFailed,
    ComputerEngineWorker,
    ConnectError,
    ConnectTimeout,
    ContainerServer,
    EncodeError,
    Executed,
    HandshakeFailed,
    InvalidArguments,
    Limits,
    LinkFailed,
    LinkState,
    MessageTooLarge,
    NotConnected,
    ProtocolError,
    ReconnectPolicy,
    RemoteError,
    RequestError,
    Unsupported,
)
from mpzmq.protocol import wire
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from tests.support.ports import free_port
from tests.support.raw import LINK_TAG, Liar, Raw
from tests.support.scene import REDIAL, Scene, adds_up
from tests.support.waiting import SECONDS, event_of, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mpzmq import ComputerEngineWriter


def changed(record: list[Any], index: int, value: Any) -> list[Any]:
    return [*record[:index], value, *record[index + 1 :]]


def invoke(number: int, data: Any) -> list[Any]:
    """A REQUEST of plain INVOKE."""
    return [Kind.REQUEST, number, None, 0, Op.INVOKE, None, [data], None, None]


# What is no container


@contextlib.asynccontextmanager
async def listener(answer: bytes | None) -> AsyncIterator[tuple[str, int]]:
    """A TCP server that answers anything with the same bytes, b"" by hanging up at once, None by silence."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if answer:
            await reader.read(1)
            writer.write(answer)
        if answer is not None:
            writer.close()
        else:
            with contextlib.suppress(ConnectionError):
                while await reader.read(1000):
                    pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for writer in writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await server.wait_closed()
        await asyncio.sleep(0)


HTTP = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [(HTTP, (HandshakeFailed,)), (b"", (HandshakeFailed,)), (b"\xff" * 200, (HandshakeFailed,)),
     (b"SSH-2.0-OpenSSH_9.6\r\n", (HandshakeFailed,)), (None, (ConnectTimeout,))],
)  # fmt: skip
async def test_something_else_listens_there(answer: bytes | None, kinds: tuple[type[ConnectError], ...]) -> None:
    async with listener(answer) as address, ComputerEngineWorker(reconnect=REDIAL) as worker:
        remote_id = uuid.uuid4()
        with pytest.raises(ConnectError) as caught:
            await soon(worker.connect(remote_id, address))
        assert type(caught.value) in kinds
        assert str(address[1]) in str(caught.value)
        assert worker.get_engine(remote_id) is None


async def test_something_else_listens_there_and_the_link_waits(scene: Scene) -> None:
    async with listener(HTTP) as address:
        worker = scene.worker.with_max_reconnect_attempts(2)
        container = await worker.connect(uuid.uuid4(), address, wait=False)
        events = worker.service().events(container.remote_id)
        call = asyncio.create_task(container.request("x"))
        failed = await event_of(events, LinkFailed)
        assert failed.attempts == 2
        with pytest.raises(NotConnected) as caught:
            await soon(call)
        assert caught.value.executed is Executed.NO
        assert isinstance(container.last_error, HandshakeFailed)
    assert await scene.container.request("unharmed") == "unharmed"


@pytest.mark.parametrize("kind", [zmq.PUB, zmq.PUSH, zmq.PULL, zmq.REQ, zmq.PAIR])
async def test_a_socket_of_another_type_is_a_failed_handshake(raw: Callable[[int], Raw], kind: int) -> None:
    other = raw(kind).bind()
    async with ComputerEngineWorker() as worker:
        with pytest.raises(HandshakeFailed):
            await soon(worker.connect(uuid.uuid4(), other.endpoint))
        container = await worker.connect(uuid.uuid4(), other.endpoint, wait=False)
        events = worker.service().events()
        await event_of(events, LinkFailed)
        assert container.state is LinkState.FAILED


async def test_a_router_that_never_answers(raw: Callable[[int], Raw]) -> None:
    mute = raw(zmq.ROUTER).bind()
    async with ComputerEngineWorker() as worker:
        remote_id = uuid.uuid4()
        with pytest.raises(ConnectTimeout, match="WELCOME"):
            await soon(worker.connect(remote_id, mute.endpoint, timeout=0.3))
        assert worker.get_engine(remote_id) is None


async def test_an_engine_that_is_denied_by_the_zap_handler() -> None:
    def denied_router() -> tuple[zmq.Context[Any], Any, zmq.Socket[bytes], str]:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        authenticator = zmq.auth.thread.ThreadAuthenticator(context)
        authenticator.start()
        authenticator.deny("127.0.0.1")
        router = context.socket(zmq.ROUTER)
        router.set(zmq.LINGER, 0)
        router.setsockopt_string(zmq.ZAP_DOMAIN, "test")
        router.bind("tcp://127.0.0.1:0")
        return context, authenticator, router, router.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0")

    context, authenticator, router, endpoint = denied_router()
    try:
        async with ComputerEngineWorker() as worker:
            with pytest.raises(AuthenticationFailed) as caught:
                await soon(worker.connect(uuid.uuid4(), endpoint))
            assert isinstance(caught.value, PermissionError)
            container = await worker.connect(uuid.uuid4(), endpoint, wait=False)
            await event_of(worker.service().events(), LinkFailed)
            assert container.state is LinkState.FAILED
            assert isinstance(container.last_error, AuthenticationFailed)
    finally:
        router.close(0)
        authenticator.stop()
        context.term()


# A container that lies


@pytest.mark.parametrize("version", [1, 7])
@pytest.mark.parametrize("answer", ["WELCOME", "GOODBYE"])
async def test_another_version_of_a_container_ends_the_link(
    raw: Callable[[int], Raw], answer: str, version: int
) -> None:
    """Whatever the policy says of redials: none can help."""
    liar = Liar(raw(zmq.ROUTER).bind())
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        events = worker.service().events()
        container = await worker.connect(uuid.uuid4(), liar.router.endpoint, wait=False)
        assert (await liar.hello())[1] == [wire.VERSION]
        if answer == "WELCOME":
            liar.say(LINK_TAG, changed(liar.welcome(), 1, version))
            text = f"the container speaks version {version} of the protocol, this side {wire.VERSION}"
        else:
            text = f"this container speaks version {version} of the protocol, not any of [{wire.VERSION}]"
            liar.say(LINK_TAG, [Kind.GOODBYE, Goodbye.VERSION, text])
        failed = await event_of(events, LinkFailed)
        assert text in failed.reason
        assert container.state is LinkState.FAILED
        assert isinstance(container.last_error, HandshakeFailed)
        assert text in str(container.last_error)


async def test_a_container_that_has_no_room_turns_engines_away() -> None:
    async with ContainerServer(limits=Limits(sessions=1)) as server:
        endpoint = await server.bind("127.0.0.1:0")
        async with ComputerEngineWorker() as first, ComputerEngineWorker(reconnect=REDIAL) as second:
            await first.connect(uuid.uuid4(), endpoint)
            with pytest.raises(ConnectError, match="sessions"):
                await soon(second.connect(uuid.uuid4(), endpoint))
            waiting = await second.connect(uuid.uuid4(), endpoint, wait=False)
            await first.close()
            await soon(waiting.wait_ready())


@pytest.mark.parametrize(
    "welcome",
    [[Kind.WELCOME], [Kind.WELCOME, 1, b"x", 1], "window", "text"],
)
async def test_a_malformed_welcome_is_told(raw: Callable[[int], Raw], welcome: Any) -> None:
    liar = Liar(raw(zmq.ROUTER).bind())
    async with ComputerEngineWorker() as worker:
        connecting = asyncio.create_task(worker.connect(uuid.uuid4(), liar.router.endpoint))
        await liar.hello()
        record = liar.welcome()
        if welcome == "window":
            record[8] = [0, -1]
        elif welcome == "text":
            record[6] = 5
        else:
            record = welcome
        liar.say(LINK_TAG, record)
        with pytest.raises(HandshakeFailed, match=r"the WELCOME is not accepted: .*field '"):
            await soon(connecting)


async def test_a_welcome_of_another_connection_is_none(raw: Callable[[int], Raw]) -> None:
    liar = Liar(raw(zmq.ROUTER).bind())
    async with ComputerEngineWorker() as worker:
        connecting = asyncio.create_task(worker.connect(uuid.uuid4(), liar.router.endpoint, timeout=0.3))
        await liar.hello()
        record = liar.welcome()
        record[3] += 1
        liar.say(LINK_TAG, record)
        with pytest.raises(ConnectTimeout):
            await soon(connecting)


async def test_a_reply_that_cannot_be_decoded_is_a_protocol_error(
    lied: tuple[ComputerEngineWriter, Liar],
) -> None:
    container, liar = lied
    for body in (
        b"\xc1", b"", b"\x93\x04\x01", b"\x93\x04\x01\xc7\x01\x63\x00", b"\xdd\xff\xff\xff\xff",
        msgpack.packb([Kind.RESPONSE, 7, "x"]), msgpack.packb([Kind.RESPONSE]), msgpack.packb("text"),
        msgpack.packb([Kind.RESPONSE, 1, msgpack.ExtType(1, b"\x05")]), msgpack.packb([Kind.ERROR, 1]),
        b"\x93\x04\x01\xa2\xff\xff", b"\x93\x04\x01" + b"\x91" * 80 + b"\xc0",
    ):  # fmt: skip
        call = asyncio.create_task(container.request("x"))
        liar.router.send(liar.route, await liar.request(), body)
        with pytest.raises(ProtocolError) as caught:
            await soon(call)
        assert caught.value.executed is Executed.UNKNOWN
    call = asyncio.create_task(container.request("x"))
    liar.say(await liar.request(), [Kind.RESPONSE, 1, "still here"])
    assert await soon(call) == "still here"
    assert adds_up(container.statistics())


async def test_hostile_messages_of_a_router_change_nothing(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied
    dice = random.Random(7)
    call = asyncio.create_task(container.request("x"))
    tag = await liar.request()
    liar.router.send(liar.route, b"alone")
    liar.router.send(liar.route, b"")
    liar.router.send(liar.route, b"", b"")
    liar.router.send(liar.route, b"short", liar.router.pack([Kind.PONG, liar.number, 5, 5]))
    liar.say(LINK_TAG, [Kind.PONG, liar.number + 5, 10**9, 10**9])
    liar.say(LINK_TAG, [Kind.PONG, 0, 10**9, 10**12])
    liar.say(LINK_TAG, [Kind.HELLO, [1], uuid.uuid4(), 1, "x", 1.0, {}])
    liar.say(LINK_TAG, [99, "unknown"])
    liar.say(LINK_TAG, [Kind.RESPONSE, 1, "for the nil id"])
    liar.say(LINK_TAG, liar.welcome())
    for _ in range(200):
        liar.router.send(liar.route, *(dice.randbytes(dice.randrange(64)) for _ in range(dice.randrange(1, 5))))
    for _ in range(20):
        liar.say(uuid.uuid4().bytes, [Kind.RESPONSE, 1, "for nobody"])
        liar.say(uuid.uuid4().bytes, [Kind.ERROR, 11, 2, 1, "for nobody", None])
    liar.say(tag, [Kind.RESPONSE, 1, "the reply"])
    assert await soon(call) == "the reply"
    liar.say(tag, [Kind.RESPONSE, 1, "twice"])
    call = asyncio.create_task(container.request("y"))
    liar.say(await liar.request(), [Kind.RESPONSE, 1, "next"])
    assert await soon(call) == "next"
    counted = container.statistics()
    assert adds_up(counted)
    assert counted.late >= 41
    assert container.state is LinkState.ALIVE


async def test_every_error_code_of_a_liar_ends_the_request(lied: tuple[ComputerEngineWriter, Liar]) -> None:
    container, liar = lied
    for code in range(-1, 20):
        if code in (Code.NO_SESSION, Code.DRAINING):  # these say that the link is not up, and end nothing
            continue
        call = asyncio.create_task(container.request("x", wait=False, timeout=5))
        liar.say(await liar.request(), [Kind.ERROR, code, 1, 1, "text", {"type": 5, "code": 6, "retry_after": "x"}])
        with pytest.raises(RequestError):
            await soon(call)
    assert adds_up(container.statistics())
    assert container.statistics().in_flight == 0


@pytest.mark.parametrize("code", [Code.NO_SESSION, Code.DRAINING])
async def test_requests_that_were_turned_back_are_sent_again_in_their_order(
    lied: tuple[ComputerEngineWriter, Liar], raw: Callable[[int], Raw], code: int
) -> None:
    container, liar = lied
    calls = []
    tags = []
    for number in range(4):
        calls.append(asyncio.create_task(container.request(number)))
        tags.append(await liar.request())
    # All in one message, as a container answers what it read in one burst.
    liar.say(b"".join(tags), *([Kind.ERROR, code, 0, 1, "not now", None] for _ in tags))
    if code == Code.DRAINING:
        # The successor takes the port over.
        liar.router.socket.close(0)
        liar = Liar(await raw(zmq.ROUTER).bind_soon(liar.router.endpoint))
    await liar.hello()
    liar.say(LINK_TAG, liar.welcome())
    again = await liar.requests(len(tags))
    for tag in again:
        liar.say(tag, [Kind.RESPONSE, 1, None])
    await soon(asyncio.gather(*calls))
    assert again == tags
    assert adds_up(container.statistics())


# An engine that lies


async def test_random_frames_disturb_nobody(scene: Scene, raw: Callable[[int], Raw]) -> None:
    dice = random.Random(20261123)
    hostile, greeted = raw(zmq.DEALER).connect(scene.endpoint), raw(zmq.DEALER).connect(scene.endpoint)
    await greeted.greet()
    valid = greeted.pack(invoke(1, {"a": [1, 2.5, "text", b"bytes", uuid.uuid4()]}))
    for number in range(600):
        for peer in (hostile, greeted):
            frames = [dice.randbytes(dice.choice((0, 1, 15, 16, 17, 32, 100))) for _ in range(dice.randrange(1, 6))]
            peer.send(*frames)
            mutated = bytearray(valid)
            for _ in range(dice.randrange(1, 4)):
                mutated[dice.randrange(len(mutated))] = dice.randrange(256)
            peer.send(uuid.UUID(int=dice.getrandbits(128)).bytes, bytes(mutated))
            peer.send(dice.randbytes(32), bytes(mutated[: dice.randrange(len(mutated))]) + valid)
        if number % 20 == 0:
            assert await soon(scene.container.request(number)) == number
    assert await soon(scene.container.request("healthy")) == "healthy"
    assert scene.container.state is LinkState.ALIVE
    assert scene.container.statistics().reconnects == 0
    assert scene.server.statistics().ignored > 0


async def test_malformed_records_get_an_error_with_their_tag(scene: Scene, raw: Callable[[int], Raw]) -> None:
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    received = scene.server.statistics().received
    good = peer.pack(invoke(1, "x"))
    for body in (
        msgpack.packb([Kind.REQUEST]),
        msgpack.packb([Kind.REQUEST, "x", None, 0, Op.INVOKE, None, ["x"], None, None]),
        msgpack.packb([Kind.REQUEST, 1, "soon", 0, Op.INVOKE, None, ["x"], None, None]),
        msgpack.packb([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [], None, None]),
        msgpack.packb([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, "x", None, None]),
        msgpack.packb([Kind.REQUEST, 1, None, 0, Op.CALL, None, [], None, None]),
        msgpack.packb([Kind.REQUEST, 1, None, 0, Op.CALL, 5, [], None, None]),
        msgpack.packb([Kind.REQUEST, 1, None, 0, Op.CALL, "f", [], {1: 2}, None]),
        msgpack.packb([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [msgpack.ExtType(9, b"")], None, None]),
        msgpack.packb([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [msgpack.ExtType(1, b"\x00")], None, None]),
        msgpack.packb([Kind.REQUEST, 1, None, 0, Op.INVOKE, None, [[0] * 100_001], None, None]),
        b"\x99\x03\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xc1",
        good + b"trailing",
    ):
        tag = uuid.uuid4().bytes
        peer.send(tag, body)
        [(told, record)] = peer.unpack(await peer.receive())
        assert told == tag
        assert record[:3] == [Kind.ERROR, Code.MALFORMED, 0]
    assert scene.server.statistics().received == received
    tag = uuid.uuid4().bytes
    peer.send(tag, good, b"a buffer that nobody refers to")
    assert peer.unpack(await peer.receive())[0][1][:2] == [Kind.ERROR, Code.MALFORMED]
    peer.send(tag + b"odd", good)
    assert peer.unpack(await peer.receive())[0][1][:2] == [Kind.ERROR, Code.MALFORMED]
    assert scene.server.statistics().received == received


async def test_a_wrong_record_fails_alone_and_its_neighbours_run(scene: Scene, raw: Callable[[int], Raw]) -> None:
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    tags = [uuid.uuid4().bytes for _ in range(3)]
    peer.send(b"".join(tags), peer.pack(invoke(1, "a"), [Kind.REQUEST, 2], invoke(3, "c")))
    answers: dict[bytes, list[Any]] = {}
    while len(answers) < 3:
        answers.update(peer.unpack(await peer.receive()))
    assert answers[tags[0]] == [Kind.RESPONSE, 1, "a"]
    assert answers[tags[1]][:3] == [Kind.ERROR, Code.MALFORMED, 0]
    assert answers[tags[2]] == [Kind.RESPONSE, 1, "c"]
    # If decoding stops at one record, the earlier ones run.
    tags = [uuid.uuid4().bytes for _ in range(3)]
    peer.send(b"".join(tags), peer.pack(invoke(4, "a")) + b"\xc1" + peer.pack(invoke(5, "c")))
    answers.clear()
    while len(answers) < 3:
        answers.update(peer.unpack(await peer.receive()))
    assert answers[tags[0]] == [Kind.RESPONSE, 1, "a"]
    assert [answers[tag][1] for tag in tags[1:]] == [Code.MALFORMED, Code.MALFORMED]


async def test_records_before_hello_never_run(scene: Scene, raw: Callable[[int], Raw]) -> None:
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    received = scene.server.statistics().received
    tag = uuid.uuid4().bytes
    peer.send(tag, peer.pack(invoke(1, "x")))
    [(told, record)] = peer.unpack(await peer.receive())
    assert told == tag
    assert record[:3] == [Kind.ERROR, Code.NO_SESSION, 0]
    peer.send(LINK_TAG, peer.pack([Kind.PING, 1]))
    assert peer.unpack(await peer.receive())[0][1][:2] == [Kind.ERROR, Code.NO_SESSION]
    peer.send(tag, peer.pack([Kind.CANCEL]))
    assert scene.server.statistics().received == received
    welcome = await peer.greet()
    assert welcome[0] == Kind.WELCOME
    peer.send(tag, peer.pack(invoke(1, "x")))
    assert peer.unpack(await peer.receive()) == [(tag, [Kind.RESPONSE, 1, "x"])]


async def test_nothing_of_a_stream_comes_behind_the_word_that_its_cancel_was_read(
    scene: Scene, raw: Callable[[int], Raw]
) -> None:
    """Its handler takes its time to end; meanwhile there is credit again."""
    release = asyncio.Event()

    @scene.server.function
    async def items() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"item"
        finally:
            await release.wait()

    peer = raw(zmq.DEALER).connect(scene.endpoint)
    await peer.greet()
    tag = uuid.uuid4().bytes
    peer.send(tag, peer.pack([Kind.REQUEST, 1, None, 0, Op.STREAM, "items", [], None, None]))
    received = 0
    while received < Limits().stream_items:
        for told, record in peer.unpack(await peer.receive()):
            if (told, record[0]) == (tag, Kind.CHUNK):
                received = record[1] + len(record[4])

    async def told_until_pong(number: int, *records: list[Any]) -> list[int]:
        peer.send(tag * len(records) + LINK_TAG, peer.pack(*records, [Kind.PING, number]))
        kinds = []
        while True:
            for told, record in peer.unpack(await peer.receive()):
                if told == tag:
                    kinds.append(record[0])
                elif record[:2] == [Kind.PONG, number]:
                    return kinds

    await told_until_pong(7, [Kind.CANCEL])
    assert await told_until_pong(8, [Kind.CREDIT, received, 2 * received, 1 << 30]) == []
    assert await told_until_pong(9) == []
    release.set()


async def test_a_superseded_connection_is_not_served(scene: Scene, raw: Callable[[int], Raw]) -> None:
    ran: list[str] = []
    scene.server.function(ran.append, name="note")
    release = asyncio.Event()

    @scene.server.function
    async def held() -> str:
        await release.wait()
        return "held"

    session = uuid.uuid4()
    old, new = raw(zmq.DEALER).connect(scene.endpoint), raw(zmq.DEALER).connect(scene.endpoint)
    first = await old.greet(session, 1)
    tag = uuid.uuid4().bytes
    old.send(tag, old.pack([Kind.REQUEST, 1, None, 0, Op.CALL, "held", [], None, None]))
    await until(lambda: scene.server.statistics().in_flight)
    second = await new.greet(session, 2)
    assert (first[4], second[4]) == (False, True)
    ignored = scene.server.statistics().ignored
    old.send(uuid.uuid4().bytes, old.pack([Kind.REQUEST, 2, None, 0, Op.CALL, "note", ["old"], None, None]))
    old.send(LINK_TAG, old.pack(wire.hello(session, 1, "raw", 60.0, Limits())))
    await until(lambda: scene.server.statistics().ignored >= ignored + 2)
    release.set()
    assert new.unpack(await new.receive()) == [(tag, [Kind.RESPONSE, 1, "held"])]
    assert not old.socket.poll(50)
    assert ran == []


@pytest.mark.parametrize("versions", [[1], [7, 8]])
async def test_a_hello_of_another_version_is_told_so(
    scene: Scene, raw: Callable[[int], Raw], versions: list[int]
) -> None:
    peer = raw(zmq.DEALER).connect(scene.endpoint)
    peer.send(LINK_TAG, peer.pack(changed(wire.hello(uuid.uuid4(), 1, "raw", 60.0, Limits()), 1, versions)))
    [(where, goodbye)] = peer.unpack(await peer.receive())
    assert (where, goodbye[:2]) == (LINK_TAG, [Kind.GOODBYE, Goodbye.VERSION])
    assert f"version {wire.VERSION} " in goodbye[2] and f"not any of {versions}" in goodbye[2]


async def test_garbage_over_tcp_disturbs_nobody(scene: Scene) -> None:
    port = int(scene.endpoint.rpartition(":")[2])
    dice = random.Random(5)
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
    for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", dice.randbytes(5000), b"\xff" * 64, greeting,
                    greeting + b"\x02" + b"\xff" * 8, greeting + dice.randbytes(100)):  # fmt: skip
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(garbage)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        assert await soon(scene.container.request("healthy")) == "healthy"
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    assert scene.container.statistics().reconnects == 0


async def test_a_frame_beyond_the_limit_ends_its_own_connection_only(raw: Callable[[int], Raw]) -> None:
    async with ContainerServer(limits=Limits(message_bytes=10_000)) as server, ComputerEngineWorker() as worker:
        server.on_invoke(lambda data: data)
        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        peer = raw(zmq.DEALER).connect(container.address)
        await peer.greet()
        peer.send(uuid.uuid4().bytes, bytes(20_000))
        assert await soon(container.request("healthy")) == "healthy"
        # libzmq dials again for the peer: without HELLO it is a stranger.
        answer: list[Any] = []
        async with asyncio.timeout(SECONDS):
            while not answer:
                peer.send(uuid.uuid4().bytes, peer.pack(invoke(1, "x")))
                with contextlib.suppress(TimeoutError):
                    answer = peer.unpack(await peer.receive(0.2))
        assert answer[0][1][:2] == [Kind.ERROR, Code.NO_SESSION]
        assert container.statistics().reconnects == 0


# An engine that errs


async def test_oversized_messages_both_ways_harm_no_neighbour() -> None:
    large, small = Limits(message_bytes=300_000), Limits(message_bytes=100_000)
    for server_limits, worker_limits in ((small, large), (large, small)):
        async with (
            ContainerServer(limits=server_limits) as server,
            ComputerEngineWorker(limits=worker_limits) as worker,
        ):
            server.on_invoke(lambda data: data)
            server.function(lambda size: bytes(size), name="give")
            container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
            neighbours = [asyncio.create_task(container.request(number)) for number in range(500)]
            for data in (bytes(150_000), "x" * 150_000, [bytes(60_000)] * 2, {"k": memoryview(bytes(150_000))}):
                with pytest.raises(MessageTooLarge) as caught:
                    await soon(container.request(data))
                assert caught.value.size > caught.value.limit == 100_000
                assert isinstance(caught.value, ValueError)
            with pytest.raises(RemoteError) as remote:
                await soon(container.call("give", 150_000))
            assert remote.value.error_type == "MessageTooLarge"
            assert await soon(asyncio.gather(*neighbours)) == list(range(500))
            assert len(await container.call("give", 99_000)) == 99_000
            assert await container.request(bytes(99_000)) == bytes(99_000)
            assert container.statistics().reconnects == 0
            assert adds_up(container.statistics())


async def test_an_oversized_request_that_waited_for_the_link_ends_at_welcome() -> None:
    port = free_port()
    async with ComputerEngineWorker(reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), ("127.0.0.1", port), wait=False)
        too_large = asyncio.create_task(container.request(bytes(50_000)))
        fits = asyncio.create_task(container.request("x"))
        await asyncio.sleep(0)
        async with ContainerServer(limits=Limits(message_bytes=20_000)) as server:
            server.on_invoke(lambda data: data)
            await server.bind(("127.0.0.1", port))
            with pytest.raises(MessageTooLarge):
                await soon(too_large)
            assert await soon(fits) == "x"


async def test_many_small_requests_to_a_container_with_a_small_limit() -> None:
    for server_limits, worker_limits in (
        (Limits(message_bytes=4096), Limits()),
        (Limits(), Limits(message_bytes=4096)),
    ):
        async with (
            ContainerServer(limits=server_limits) as server,
            ComputerEngineWorker(limits=worker_limits) as worker,
        ):
            server.on_invoke(lambda data: data)
            container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
            replies = await soon(asyncio.gather(*(container.request("x" * 200) for _ in range(1000))))
            assert set(replies) == {"x" * 200}
            assert container.statistics().reconnects == 0


async def test_other_limits_of_the_container_are_errors_not_hangs() -> None:
    limits = Limits(depth=3, items=10, batch_records=4, in_flight=5, window=2, queued_bytes=5000)
    async with ContainerServer(limits=limits) as server, ComputerEngineWorker() as worker:
        release = asyncio.Event()

        @server.on_invoke
        async def echo(data: Any) -> Any:
            await release.wait()
            return data

        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        calls = [asyncio.create_task(container.request(number, timeout=10)) for number in range(50)]
        await until(lambda: sum(call.done() for call in calls) == 45)
        release.set()
        outcomes = await soon(asyncio.gather(*calls, return_exceptions=True))
        assert sum(isinstance(outcome, int) for outcome in outcomes) == 5
        assert {type(outcome).__name__ for outcome in outcomes} == {"int", "Overloaded"}
        assert all(outcome.executed is Executed.NO for outcome in outcomes if isinstance(outcome, RequestError))
        for data in ([[[[[1]]]]], list(range(11))):
            with pytest.raises((RequestError, EncodeError)):
                await soon(container.request(data))
        assert await soon(container.request([[1]])) == [[1]]


async def test_unknown_functions_and_wrong_arguments_harm_no_neighbour(scene: Scene) -> None:
    scene.server.function(lambda a, b: a + b, name="add")
    neighbours = [asyncio.create_task(scene.container.call("add", number, 1)) for number in range(100)]
    for attempt, kind in (
        (scene.container.call("ad"), Unsupported),
        (scene.container.call("add", 1), InvalidArguments),
        (scene.container.call("add", 1, 2, 3), InvalidArguments),
        (scene.container.call("add", 1, c=2), InvalidArguments),
        (scene.container.call("add", 1, "x"), RemoteError),
    ):
        with pytest.raises(kind):
            await soon(attempt)
    assert await soon(asyncio.gather(*neighbours)) == list(range(1, 101))


async def test_no_handler_for_plain_requests_is_unsupported() -> None:
    async with ContainerServer() as server, ComputerEngineWorker() as worker:
        container = await worker.connect(uuid.uuid4(), await server.bind("127.0.0.1:0"))
        with pytest.raises(Unsupported, match="on_invoke"):
            await soon(container.request("x"))


async def test_dials_of_many_links_to_nowhere_end_with_the_worker(scene: Scene) -> None:
    worker = ComputerEngineWorker(reconnect=ReconnectPolicy(interval=0.01))
    for _ in range(20):
        await worker.connect(uuid.uuid4(), f"127.0.0.1:{free_port()}", wait=False)
    assert await soon(scene.container.request("unharmed")) == "unharmed"
    await soon(worker.close(timeout=1.0))
