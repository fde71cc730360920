"""The collector: what a registry of prometheus_client reads of servers and workers."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mpzmq import ComputerEngineWorker, ConnectionClosed, ContainerServer, Endpoint, RemoteError, Unsupported
from mpzmq.prometheus import collector
from mpzmq.testing import Members
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def registry_of(*targets: Any, **options: Any) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector(*targets, **options))
    return registry


def test_a_registry_takes_no_samples_that_collide() -> None:
    """Prometheus would drop them: each collector counts under the same names, without a label that tells them apart."""
    registry = registry_of(ContainerServer())
    registry.register(collector(ComputerEngineWorker()))
    for target in (ContainerServer(), ComputerEngineWorker()):
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            registry.register(collector(target))


class Stage:
    """A container, and a worker that knows it by itself and as two members of a group."""

    def __init__(self, server: ContainerServer, worker: ComputerEngineWorker, endpoint: str) -> None:
        self.server, self.worker, self.endpoint = server, worker, endpoint


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    server = ContainerServer()

    @server.function
    def add(one: int, other: int) -> int:
        return one + other

    @server.function
    async def fails() -> None:
        raise ZeroDivisionError

    @server.function
    async def hangs() -> None:
        await asyncio.Event().wait()

    async with server, ComputerEngineWorker() as worker:
        yield Stage(server, worker, await server.bind("127.0.0.1:0"))


@pytest.fixture
def slices() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(before)


async def test_a_container(stage: Stage) -> None:
    registry = registry_of(stage.server)
    container = await stage.worker.connect(stage.endpoint)
    for _ in range(3):
        await container.call("add", 1, 2)
    for name, error in (("fails", RemoteError), ("none", Unsupported)):
        with pytest.raises(error):
            await container.call(name)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("mpzmq_server_requests_total", function="add", outcome="replied") == 3
    assert value("mpzmq_server_requests_total", function="fails", outcome="failed") == 1
    assert value("mpzmq_server_requests_total", function="(unknown)", outcome="refused") == 1
    assert value("mpzmq_server_rejected_requests_total", function="(unknown)") == 1
    assert value("mpzmq_server_request_duration_seconds_count", function="add") == 3
    seconds = value("mpzmq_server_request_duration_seconds_sum", function="add")
    assert seconds == stage.server.statistics().functions["add"].seconds > 0
    assert value("mpzmq_server_engines") == 1
    assert value("mpzmq_server_running_requests", function="add") == 0


async def test_a_worker(stage: Stage) -> None:
    registry = registry_of(stage.worker)
    container = await stage.worker.connect(stage.endpoint, name="calc")
    members = Members([Endpoint(stage.endpoint, name="one")])
    group = await stage.worker.group(members, name="pool")
    await container.call("add", 1, 2)
    with pytest.raises(RemoteError):
        await container.call("fails")
    for _ in range(2):
        await group.call("add", 1, 2)
    with pytest.raises(Unsupported):
        await group.call("none")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    ends = {
        (kind, name, outcome): value("mpzmq_client_requests_total", **{kind: name}, outcome=outcome)
        for kind, name in (("container", "calc"), ("group", "pool"))
        for outcome in ("replied", "cancelled", "RemoteError", "Unsupported")
    }
    assert {key: count for key, count in ends.items() if count} == {
        ("container", "calc", "replied"): 1,
        ("container", "calc", "RemoteError"): 1,
        ("group", "pool", "replied"): 2,
        ("group", "pool", "Unsupported"): 1,
    }
    assert value("mpzmq_client_links", container="calc", state="ALIVE") == 1
    assert value("mpzmq_client_links", group="pool", state="ALIVE") == 1
    sent = value("mpzmq_client_sent_bytes_total", group="pool")
    assert sent is not None and sent > 0
    assert value("mpzmq_client_request_duration_seconds_count", group="pool") == 2
    members.remove("one")
    await until(lambda: not group.members)
    await until(lambda: group.statistics().links.in_flight == 0)
    assert value("mpzmq_client_links", group="pool", state="ALIVE") == 0
    left = value("mpzmq_client_sent_bytes_total", group="pool")
    assert left is not None and left >= sent, "a counter does not fall when a member leaves"


async def test_histograms(stage: Stage) -> None:
    container = await stage.worker.connect(stage.endpoint, name="calc")
    await container.call("add", 1, 2)
    buckets = (0.5, 60.0)
    registry = registry_of(stage.server, stage.worker, histograms=True, buckets=buckets)
    assert registry.get_sample_value("mpzmq_server_request_duration_seconds_count", {"function": "add"}) == 0
    await container.call("add", 1, 2)
    with pytest.raises(RemoteError):
        await container.call("fails")
    for name, label in (("server", {"function": "add"}), ("client", {"container": "calc"})):
        family = f"mpzmq_{name}_request_duration_seconds"
        found = [registry.get_sample_value(f"{family}_bucket", {**label, "le": le}) for le in ("0.5", "60.0", "+Inf")]
        assert found[-1] == found[-2] == registry.get_sample_value(f"{family}_count", label) == 1
    assert (
        registry.get_sample_value("mpzmq_server_request_duration_seconds_bucket", {"function": "fails", "le": "60.0"})
        == 1
    ), "a function that is asked for the first time has one, too"
    collector(stage.server, stage.worker, histograms=True, buckets=buckets)
    for target in (stage.server, stage.worker):
        with pytest.raises(ValueError, match="other buckets"):
            collector(target, histograms=True)
    another = await stage.worker.connect(stage.endpoint, name="later")
    await another.call("add", 1, 2)
    assert another.statistics().durations is not None


@pytest.mark.parametrize("kind", [ContainerServer, ComputerEngineWorker])
def test_histograms_that_cannot_be_added_up_are_refused_before_they_are_scraped(kind: Any) -> None:
    one, same, other, without = kind(name="one"), kind(name="same"), kind(name="other"), kind(name="without")
    for target in (one, same):
        target.keep_durations((1.0, 2.0))
    other.keep_durations((1.0, 3.0))
    with pytest.raises(ValueError, match=r"\(1\.0, 2\.0\), those of .* have \(1\.0, 3\.0\), and cannot be added up"):
        collector(without, one, same, other)
    for fitting in ((one, same, without), (other, without), (other, other)):
        registry_of(*fitting)


async def test_a_server_that_is_bound_again_goes_on_counting(stage: Stage) -> None:
    registry = registry_of(stage.server, histograms=True)
    names = "requests_total", "rejected_requests_total", "request_duration_seconds_count", "waiting_seconds_total"

    def values() -> dict[str, float]:
        samples = [sample for family in registry.collect() for sample in family.samples]
        rising = [f"mpzmq_server_{name}" for name in names]
        return {f"{one.name} {one.labels}": one.value for one in samples if one.name in rising}

    before: dict[str, float] = {}
    endpoint = stage.endpoint
    for calls in range(1, 4):
        async with stage.worker.connect(endpoint) as container:
            await container.call("add", 1, 2)
            with pytest.raises(Unsupported):
                await container.call("none")
        now = values()
        assert all(now[name] >= value for name, value in before.items())
        labels = {"function": "add", "outcome": "replied"}
        assert registry.get_sample_value("mpzmq_server_requests_total", labels) == calls
        await stage.server.close()
        assert values() == now
        statistics = stage.server.statistics()
        assert statistics.received == 2 * calls == statistics.replied + statistics.refused
        await stage.server.__aenter__()
        assert values() == now
        endpoint = await stage.server.bind("127.0.0.1:0")
        before = values()
        assert before == now, "nothing is counted twice, and nothing is lost"
    assert registry.get_sample_value("mpzmq_server_engines") == 0


async def test_several_targets_are_added_up(stage: Stage) -> None:
    async with ContainerServer() as other, ComputerEngineWorker() as worker:
        other.function(lambda: None, name="add")
        containers = [await worker.connect(await other.bind("127.0.0.1:0"), name="calc")]
        containers.append(await stage.worker.connect(stage.endpoint, name="calc"))
        await containers[0].call("add")
        await containers[1].call("add", 1, 2)
        registry = registry_of(stage.server, stage.worker, other, worker)
        for name, labels in (("server", {"function": "add"}), ("client", {"container": "calc"})):
            labels["outcome"] = "replied"
            assert registry.get_sample_value(f"mpzmq_{name}_requests_total", labels) == 2


async def test_a_target_twice_is_one(stage: Stage) -> None:
    container = await stage.worker.connect(stage.endpoint, name="calc")
    await container.call("add", 1, 2)
    registry = registry_of(stage.server, stage.server, stage.worker, stage.worker)
    for name, labels in (("server", {"function": "add"}), ("client", {"container": "calc"})):
        labels["outcome"] = "replied"
        assert registry.get_sample_value(f"mpzmq_{name}_requests_total", labels) == 1


async def test_a_container_that_leaves_takes_nothing_from_others_of_its_name(stage: Stage) -> None:
    """A counter that falls is taken for one that began anew: what is left of it would be counted once more."""
    async with ComputerEngineWorker() as other:
        registry = registry_of(stage.worker, other)
        first, second = [await stage.worker.connect(stage.endpoint, name="calc") for _ in range(2)]
        third = await other.connect(stage.endpoint, name="calc")

        def replied() -> float | None:
            labels = {"container": "calc", "outcome": "replied"}
            return registry.get_sample_value("mpzmq_client_requests_total", labels)

        for container in (first, second, third):
            await container.call("add", 1, 2)
        await stage.worker.disconnect(first.remote_id)
        assert replied() == 3
        await stage.worker.disconnect(second.remote_id)
        assert replied() == 3
        await other.disconnect(third.remote_id)
        assert replied() is None
        await stage.worker.connect(stage.endpoint, name="calc")
        assert replied() == 3


async def test_a_group_that_is_closed_keeps_what_its_links_have_counted(stage: Stage) -> None:
    group = await stage.worker.group([stage.endpoint])
    await group.call("add", 1, 2)
    await group.close()
    assert group.statistics().links.replied == 1
    assert group.statistics().links.in_flight == 0


async def test_a_group_that_is_closed_takes_nothing_from_others_of_its_name(stage: Stage) -> None:
    registry = registry_of(stage.worker)
    first, second = [await stage.worker.group([stage.endpoint], name="pool") for _ in range(2)]

    def values() -> dict[str, float | None]:
        ends = {
            outcome: registry.get_sample_value("mpzmq_client_requests_total", {"group": "pool", "outcome": outcome})
            for outcome in ("replied", "RemoteError", "ConnectionClosed")
        }
        return {**ends, "sent": registry.get_sample_value("mpzmq_client_sent_bytes_total", {"group": "pool"})}

    for group in (first, second):
        await group.call("add", 1, 2)
        with pytest.raises(RemoteError):
            await group.call("fails")
    before = values()
    hanging = asyncio.create_task(first.call("hangs"))
    await until(lambda: first.statistics().links.in_flight)
    await first.close()
    with pytest.raises(ConnectionClosed):
        await hanging
    after = values()
    assert (after["replied"], after["RemoteError"], after["ConnectionClosed"]) == (2, 2, 1)
    assert after["sent"] and before["sent"] and after["sent"] > before["sent"]
    await second.close()
    assert values()["replied"] is None
    async with stage.worker.group([stage.endpoint], name="pool") as third:
        await third.call("add", 1, 2)
        assert values()["replied"] == 3
    stage.worker._groups.settle()
    assert stage.worker._groups._closed == [], "no group is kept for its counters"


async def test_of_many_groups_the_latest_names_are_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpzmq.engine.groups.MAX_NAMES", 1)
    for name in ("old", "new"):
        async with stage.worker.group([stage.endpoint], name=name) as group:
            await group.call("add", 1, 2)
    _, past = stage.worker._groups.counted_by_name()
    assert {name: counted.replied for name, counted in past.items()} == {"new": 1}


async def test_of_many_names_the_latest_are_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpzmq.engine.links.MAX_NAMES", 1)
    registry = registry_of(stage.worker)
    for name in ("used", "old", "new"):
        container = await stage.worker.connect(stage.endpoint, name=name)
        await container.call("add", 1, 2)
        if name == "used":
            await stage.worker.connect(stage.endpoint, name=name)
        await stage.worker.disconnect(container.remote_id)
    for name in ("old", "new"):
        await stage.worker.connect(stage.endpoint, name=name)
    found = {
        name: registry.get_sample_value("mpzmq_client_requests_total", {"container": name, "outcome": "replied"})
        for name in ("used", "old", "new")
    }
    assert found == {"used": 1, "old": 0, "new": 0}


async def test_no_counter_falls_while_links_come_and_go(stage: Stage, slices: None) -> None:
    """Whenever a thread asks: what a link has counted is neither missing for a moment nor there twice."""
    members = Members([stage.endpoint, twin := await stage.server.bind("127.0.0.1:0")])
    registry = registry_of(stage.worker)
    single = await stage.worker.connect(stage.endpoint, name="calc")
    odd: list[Any] = []
    ended = threading.Event()

    def scrape() -> None:
        before: dict[Any, float] = {}
        while not ended.is_set():
            total = stage.worker.statistics()
            now: dict[Any, float] = {"issued": total.issued}
            for family in registry.collect():
                if family.type == "counter":
                    now |= {(s.name, *sorted(s.labels.items())): s.value for s in family.samples}
            odd.extend((key, before[key], value) for key, value in now.items() if value < before.get(key, 0))
            odd.extend(key for key in now if twin in str(key))  # which is in a group
            before |= now

    group = await stage.worker.group(members, name="group")
    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        for _ in range(15):
            more = await stage.worker.connect(stage.endpoint, name="calc")
            await asyncio.gather(more.call("add", 1, 2), group.call("add", 1, 2), single.call("add", 1, 2))
            await stage.worker.disconnect(more.remote_id)
            if twin in (member.name for member in group.members):
                members.remove(twin)
            else:
                members.add(twin)
    finally:
        ended.set()
        await asyncio.to_thread(thread.join)
        await group.close()
    assert odd == []
    assert stage.worker.statistics().issued == stage.worker.statistics().replied == 45


async def test_it_may_be_asked_from_any_thread(stage: Stage) -> None:
    registry = registry_of(stage.server, stage.worker, histograms=True)
    container = await stage.worker.connect(stage.endpoint)
    failures: list[BaseException] = []
    ended = threading.Event()

    def scrape() -> None:
        try:
            while not ended.is_set():
                generate_latest(registry)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(40):
        await asyncio.gather(*(container.call("add", number, other) for other in range(20)))
        more = await stage.worker.connect(stage.endpoint, name=f"more {number}")
        await stage.worker.disconnect(more.remote_id)
    ended.set()
    await asyncio.to_thread(thread.join)
    assert failures == []


async def test_what_is_shown_is_prometheus(stage: Stage) -> None:
    """Names and labels by its rules; what names hold is escaped."""
    stage.server.function(lambda: None, name='odd "name"\n\\')
    container = await stage.worker.connect(stage.endpoint, name='calc"\n')
    await container.call('odd "name"\n\\')
    text = generate_latest(registry_of(stage.server, stage.worker, histograms=True)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {sample.labels["function"] for sample in families["mpzmq_server_requests"].samples} == {'odd "name"\n\\'}
    assert {sample.labels["container"] for sample in families["mpzmq_client_requests"].samples} == {'calc"\n'}
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    checked = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=text, text=True, capture_output=True, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_odd_targets() -> None:
    for odd in (None, "server", ContainerServer, object()):
        with pytest.raises(TypeError, match="ContainerServer or a ComputerEngineWorker"):
            collector(odd)  # type: ignore[arg-type]
    for target in (ContainerServer(), ComputerEngineWorker()):
        for buckets in ([], [0.0], [2.0, 1.0]):
            with pytest.raises(ValueError, match="buckets"):
                collector(target, histograms=True, buckets=buckets)
    assert generate_latest(registry_of()) == b""
    gc.collect()


def test_without_the_extra(tmp_path: Any) -> None:
    """It says which extra is missing."""
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('no')\n")
    code = "import mpzmq; mpzmq.prometheus.collector()"
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": f"{tmp_path}:."}, text=True, capture_output=True, timeout=60
    )
    assert run.returncode == 1 and "install mpzmq-engine[metrics]" in run.stderr.splitlines()[-1]
