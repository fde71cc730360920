"""Who gets in, and what the others are told: real sockets, real keys."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from mpzmq import (
    AuthenticationFailed,
    ComputerEngineWorker,
    ConnectError,
    ConnectTimeout,
    ContainerServer,
    HandshakeFailed,
    InsecureBind,
    LinkFailed,
    LinkRetry,
    LinkState,
    Security,
    blocking,
    keys,
)
from mpzmq.testing import connected
from mpzmq.transport.libzmq import shared_context as context
from tests.support.scene import QUICK, REDIAL
from tests.support.secured import CONTAINER, ENGINE, STRANGER, Secured
from tests.support.waiting import event_of, soon, until

if TYPE_CHECKING:
    from pathlib import Path

    from mpzmq.testing import ContainerFactory


async def test_an_allowed_key_gets_in_and_has_a_name(secured: Secured) -> None:
    container = await secured.connect()
    assert await container.request("x") == "x"
    user, peer = await container.call("whoami")
    assert user == "engine" and peer != "engine"


async def test_without_security_there_is_no_user() -> None:
    server = ContainerServer()

    @server.function
    def whoami() -> Any:
        from mpzmq import current_request

        request = current_request()
        assert request is not None
        return request.user

    async with connected(server) as container:
        assert await container.call("whoami") is None


async def test_a_worker_has_keys_for_all_and_a_link_its_own(secured: Secured) -> None:
    security = Security.client(STRANGER, CONTAINER.public)
    async with ComputerEngineWorker(security=security, reconnect=REDIAL) as worker:
        with pytest.raises(AuthenticationFailed):
            await worker.connect(uuid.uuid4(), secured.endpoint)
        own = Security.client(ENGINE, CONTAINER.public)
        container = await worker.connect(uuid.uuid4(), secured.endpoint, security=own)
        assert await container.call("add", 1, 2) == 3


async def test_helpers_take_keys() -> None:
    server = ContainerServer(security=Security.server(CONTAINER, allow={"engine": ENGINE.public}))
    server.on_invoke(lambda data: data)
    own = Security.client(ENGINE, CONTAINER.public)
    async with connected(server, security=own) as container:
        assert await container.request(1) == 1

        def elsewhere() -> Any:
            with blocking.connect(container.address, security=own) as handle:
                return handle.request(2)

        assert await asyncio.to_thread(elsewhere) == 2


async def test_an_unknown_key_is_refused_at_once(secured: Secured) -> None:
    with pytest.raises(AuthenticationFailed, match="denied this engine's key") as caught:
        await soon(secured.connect(STRANGER))
    assert STRANGER.public in str(caught.value) and "allow-list" in str(caught.value)
    assert isinstance(caught.value, PermissionError)
    assert not secured.ran


async def test_another_server_key_is_refused(secured: Secured) -> None:
    wrong = Security.client(ENGINE, STRANGER.public)
    with pytest.raises(AuthenticationFailed, match="its key is probably not") as caught:
        await soon(secured.worker.connect(uuid.uuid4(), secured.endpoint, security=wrong))
    assert keys.fingerprint(STRANGER.public) in str(caught.value)


async def test_a_plain_engine_is_refused(secured: Secured) -> None:
    with pytest.raises(HandshakeFailed, match="the container has keys, and this engine has none"):
        await soon(secured.worker.connect(uuid.uuid4(), secured.endpoint))


async def test_a_plain_container_is_refused() -> None:
    async with ContainerServer() as server, ComputerEngineWorker(reconnect=REDIAL) as worker:
        endpoint = await server.bind("tcp://127.0.0.1:0")
        # Whoever of the two reads first that the other speaks another mechanism hangs up; only one of them sees which.
        with pytest.raises((HandshakeFailed, AuthenticationFailed), match=r"the container has none|or it has none"):
            await worker.connect(uuid.uuid4(), endpoint, security=Security.client(ENGINE, CONTAINER.public))


async def test_a_refused_key_is_no_silent_retry_for_ever(secured: Secured) -> None:
    """In the background: FAILED at once where dialling again cannot help, else each attempt is told."""
    events = secured.worker.service().events()
    container = await secured.connect(STRANGER, wait=False)
    failed = await event_of(events, LinkFailed)
    assert "denied" in failed.reason and container.state is LinkState.FAILED
    assert isinstance(container.last_error, AuthenticationFailed)
    wrong = Security.client(ENGINE, STRANGER.public)
    other = await secured.worker.connect(uuid.uuid4(), secured.endpoint, security=wrong, wait=False)
    for _ in range(2):
        retry = await event_of(events, LinkRetry)
        assert "its key is probably not" in retry.reason
    assert isinstance(other.last_error, AuthenticationFailed)


async def test_an_engine_may_accept_several_keys_of_a_container(secured: Secured) -> None:
    """While the container changes from one to the other: a dial tries all of them before it counts as failed."""
    both = Security.client(ENGINE, [STRANGER.public, CONTAINER.public])
    container = await secured.worker.connect(uuid.uuid4(), secured.endpoint, security=both)
    assert await container.call("add", 1, 2) == 3
    none = Security.client(ENGINE, [STRANGER.public, ENGINE.public])
    with pytest.raises(AuthenticationFailed):
        await soon(secured.worker.connect(uuid.uuid4(), secured.endpoint, security=none))


async def test_a_container_may_change_its_key(secured: Secured, tmp_path: Path) -> None:
    successor = keys.generate()
    both = Security.client(ENGINE, [CONTAINER.public, successor.public])
    container = await secured.worker.connect(uuid.uuid4(), secured.endpoint, security=both)
    assert await container.call("add", 1, 2) == 3
    await secured.server.close()
    secured.server.security = Security.server(successor, allow=tmp_path)
    async with secured.server:
        await secured.server.bind(secured.endpoint)
        assert await container.call("add", 2, 2) == 4


def test_a_side_takes_its_own_kind_of_security() -> None:
    client, server = Security.client(ENGINE, CONTAINER.public), Security.server(CONTAINER, allow=[ENGINE.public])
    with pytest.raises(ValueError, match=r"Security\.server"):
        ContainerServer(security=client)
    with pytest.raises(ValueError, match=r"Security\.client"):
        ComputerEngineWorker(security=server)


async def test_security_is_set_before_the_first_bind(secured: Secured) -> None:
    with pytest.raises(RuntimeError, match="serves already"):
        secured.server.security = None


async def test_an_open_bind_names_both_ways_out() -> None:
    async with ContainerServer() as server:
        with pytest.raises(InsecureBind, match=r"Security\.server\(keys.*insecure=True"):
            await server.bind("tcp://0.0.0.0:0")
    async with ContainerServer(security=Security.server(CONTAINER, allow=[ENGINE.public])) as server:
        assert (await server.bind("tcp://0.0.0.0:0")).startswith("tcp://0.0.0.0:")


async def test_two_containers_of_one_process_have_lists_of_their_own(secured: Secured) -> None:
    """One authenticator serves both, and does not mix them up."""
    other = ContainerServer(security=Security.server(CONTAINER, allow={"stranger": STRANGER.public}))
    async with other:
        endpoint = await other.bind("tcp://127.0.0.1:0")
        theirs = Security.client(STRANGER, CONTAINER.public)
        await secured.worker.connect(uuid.uuid4(), endpoint, security=theirs)
        with pytest.raises(AuthenticationFailed):
            await secured.worker.connect(uuid.uuid4(), endpoint, security=Security.client(ENGINE, CONTAINER.public))
        with pytest.raises(AuthenticationFailed):
            await secured.connect(STRANGER)
        await secured.connect(ENGINE)


BLOCKED = """
import sys, time
from pathlib import Path
from mpzmq import ContainerServer, Security
from mpzmq.keys import load

here = Path(__file__).parent
server = ContainerServer(security=Security.server(load(here / "container.key"), allow=here / "allowed"))

@server.function
def block():
    print("blocked", file=sys.stderr, flush=True)
    ends = time.monotonic() + 60
    while not (here / "go on").exists() and time.monotonic() < ends:
        time.sleep(0.01)
"""


async def test_a_blocked_container_still_completes_handshakes(
    tmp_path: Path, mpzmq_container: ContainerFactory
) -> None:
    """The authenticator has a thread of its own: it knows meanwhile who is to get in, and who is not."""
    (tmp_path / "blocked.py").write_text(BLOCKED)
    keys.save(CONTAINER, tmp_path / "container.key")
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "engine.pub").write_text(f'public-key = "{ENGINE.public}"\n')
    served = await mpzmq_container("blocked:server", folder=tmp_path)
    own = Security.client(ENGINE, CONTAINER.public)
    async with ComputerEngineWorker(security=own, heartbeat=QUICK, reconnect=REDIAL) as worker:
        container = await worker.connect(uuid.uuid4(), served.endpoint)
        blocking_call = asyncio.create_task(container.call("block", timeout=None))
        await until(lambda: "blocked" in served.stderr)
        with pytest.raises(ConnectTimeout, match="the ZMTP handshake was done, but no WELCOME came"):
            await worker.connect(uuid.uuid4(), served.endpoint, timeout=0.5)
        with pytest.raises(AuthenticationFailed):
            await worker.connect(uuid.uuid4(), served.endpoint, security=Security.client(STRANGER, CONTAINER.public))
        assert not blocking_call.done()
        (tmp_path / "go on").touch()
        await blocking_call
        await worker.connect(uuid.uuid4(), served.endpoint)


class _Fatal:
    """A verifier that breaks the authenticator."""

    def is_allowed(self, key: str) -> bool:
        raise SystemExit("broken on purpose")

    def reload(self) -> None:
        pass


async def test_a_container_whose_authenticator_has_ended_refuses_and_says_so(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    container = await secured.connect()
    authenticator = context.authenticator()
    for watch in authenticator._watches.values():
        watch.key_verifier = _Fatal()
    with pytest.raises(ConnectError):
        await soon(secured.connect())
    await until(lambda: authenticator.has_ended)
    assert "accept no engine any more" in caplog.text
    with pytest.raises(ConnectError, match="authenticator has ended"):
        await soon(secured.connect())
    # Who was in stays in, as long as the list has the key; a bind is refused.
    assert await container.call("add", 1, 2) == 3
    for watch in authenticator._watches.values():
        watch.key_verifier = secured.server._driver._allow_list_watcher  # type: ignore[union-attr]
    secured.revoke("engine")
    await until(lambda: container.state is LinkState.FAILED)
    with pytest.raises(OSError, match="the authenticator of this process has ended"):
        await secured.server.bind("tcp://127.0.0.1:0")


async def test_raw_clients_without_a_key_reach_no_handler(secured: Secured) -> None:
    """Plain, PLAIN and NULL clients, and a CURVE client whose key is not listed."""
    with zmq.Context() as raw_context:
        sockets = []
        for kind in ("null", "plain", "curve"):
            raw = raw_context.socket(zmq.DEALER)
            raw.set(zmq.LINGER, 0)
            if kind == "plain":
                raw.plain_username, raw.plain_password = b"engine", b"secret"
            if kind == "curve":
                raw.curve_publickey, raw.curve_secretkey = STRANGER.public.encode(), STRANGER.secret.encode()
                raw.curve_serverkey = CONTAINER.public.encode()
            raw.connect(secured.endpoint)
            raw.send_multipart([bytes(16), b"\x93\x01"])
            sockets.append(raw)
        await secured.connect()  # it came later, and is done
        for raw in sockets:
            raw.close(0)
    counted = secured.server.statistics()
    assert counted.sessions == 1 and counted.ignored == 0 and not secured.ran


@pytest.mark.parametrize("security", ["x", 3, True])
def test_something_else_is_no_security(security: Any) -> None:
    for make in (lambda: ContainerServer(security=security), lambda: ComputerEngineWorker(security=security)):
        with pytest.raises(TypeError, match=r"Security\.server"):
            make()


async def test_an_authenticator_that_cannot_start_leaves_nothing_behind() -> None:
    """Another one answers for the context already: the bind says so, and the close ends."""
    async with ComputerEngineWorker() as worker:
        await worker.connect(uuid.uuid4(), "127.0.0.1:1", wait=False)  # it has the process's context
        assert context._context is not None
        with context._context.socket(zmq.REP) as other:
            other.bind("inproc://zeromq.zap.01")
            server = ContainerServer(security=Security.server(CONTAINER, allow=[ENGINE.public]))
            async with server:
                with pytest.raises(OSError, match="cannot start the authenticator"):
                    await server.bind("tcp://127.0.0.1:0")
            await soon(server.close())
