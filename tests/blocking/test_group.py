"""A group for programs without an event loop."""

from __future__ import annotations

import concurrent.futures
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq import ConnectRefused, Endpoint, GroupPolicy, InvalidArguments, NotConnected, RequestTimeout, blocking
from mpzmq.testing import ContainerProcess
from tests.support import ROOT
from tests.support.container import SPEC
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def members() -> Iterator[list[Endpoint]]:
    """Two container processes."""
    with ContainerProcess(SPEC, folder=ROOT) as one, ContainerProcess(SPEC, folder=ROOT) as two:
        yield [Endpoint(one.endpoint, name="one", labels={"gpu": "1"}), Endpoint(two.endpoint, name="two")]


@pytest.fixture
def group(members: list[Endpoint]) -> Iterator[blocking.BlockingGroup]:
    with blocking.group(members, name="pair", policy=GroupPolicy(pick="rotation")) as made:
        made.wait_ready(2)
        yield made


def test_every_way_to_ask(group: blocking.BlockingGroup) -> None:
    assert repr(group) == "<BlockingGroup 'pair'>" and group.name == "pair"
    assert group.request([1]) == [1]
    assert group.call("count", 3) == 3
    assert group.function("count", timeout=5.0)(4) == 4
    assert list(group.stream("climb", 3)) == [0, 1, 2]
    assert group.upload("add_up", iter([1, 2, 3])) == 6
    view = group.options(key="k", idempotent=True, hedge_after=5.0, request_id=uuid.uuid4())
    assert view.call("count", 5) == 5
    pids = {group.call("pid") for _ in range(4)}
    assert len(pids) == 2
    assert len({group.options(key=1).call("pid") for _ in range(4)}) == 1
    counted = group.statistics()
    assert counted.issued == counted.replied == 14


def test_members(group: blocking.BlockingGroup) -> None:
    assert [member.name for member in group.members] == ["one", "two"]
    one = group.handle("one")
    assert one.call("pid") == one.call("pid")
    one.close()
    assert one.call("count", 1) == 1, "it is the group's"
    view = group.where(gpu="1")
    assert [member.name for member in view.members] == ["one"]
    view.close()
    assert view.call("pid") == one.call("pid")
    with pytest.raises(KeyError):
        group.handle("three")
    with group.hold("one") as held:
        assert group.members[0].held
        assert held.call("pid") not in {group.call("pid") for _ in range(4)}
    assert not group.members[0].held


def test_everyone(group: blocking.BlockingGroup) -> None:
    outcomes = group.call_all("count", 7)
    assert outcomes.results == {"one": 7, "two": 7}
    assert group.call_each("count", {"two": [2], "one": [1]}).check().results == {"one": 1, "two": 2}
    with group.each("count", 8) as each:
        assert sorted(outcome.member.name for outcome in each) == ["one", "two"]


@pytest.mark.parametrize("items", [range(30), iter(range(30)), (number for number in range(30))])
def test_map(group: blocking.BlockingGroup, items: Any) -> None:
    with group.map("count", items) as results:
        assert list(results) == list(range(30))
    with group.map("slow", [30.0, 30.0], ordered=False) as results:
        pass  # leaving cancels
    with pytest.raises(InvalidArguments), group.map("pid", [1, 2], timeout=scaled(5.0)) as results:
        next(results)


def test_submit(group: blocking.BlockingGroup, members: list[Endpoint]) -> None:
    futures = [group.submit("count", number=number) for number in range(20)]
    done, rest = concurrent.futures.wait(futures, timeout=scaled(10.0))
    assert not rest and sorted(future.result() for future in done) == list(range(20))
    home = group.options(key="k").call("pid")
    futures = [group.options(key="k").submit("pid") for _ in range(5)]
    assert {future.result(scaled(10.0)) for future in futures} == {home}
    view = group.options(timeout=scaled(0.05))
    with pytest.raises(RequestTimeout):
        view.submit("slow", 60.0).result(scaled(10.0))
    with blocking.connect(members[0].address) as container:
        assert container.submit("slow", 0.0, word="x").result(scaled(10.0)) == "x"
        assert container.options(timeout=scaled(10.0)).submit("slow", 0.0, word="y").result(scaled(10.0)) == "y"
        waiting = container.submit("slow", 60.0)
        assert waiting.cancel()
    with pytest.raises(NotConnected, match="closed"):
        container.submit("count", 1)


def test_threads_share_it(group: blocking.BlockingGroup) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(group.call("count", number) for number in range(10)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == sorted(list(range(10)) * 4)


def test_nobody_listens() -> None:
    with pytest.raises(ConnectRefused):
        blocking.group(["127.0.0.1:1"], timeout=scaled(0.3))
    with pytest.raises(ValueError):
        blocking.group("nowhere://")


def test_a_closed_group(members: list[Endpoint]) -> None:
    group = blocking.group(members)
    group.close()
    group.close()
    with pytest.raises(NotConnected, match="is closed"):
        group.call("count", 1)
    with pytest.raises(NotConnected):
        group.submit("count", 1)
    with pytest.raises(NotConnected):
        group.options(key=1).submit("count", 1)


@pytest.mark.parametrize("block", ["hold", "map", "each"])
def test_a_group_that_is_closed_in_a_block_hides_nothing(members: list[Endpoint], block: str) -> None:
    group = blocking.group(members)
    given: dict[str, tuple[Any, ...]] = {"hold": ("one",), "map": ("count", [1, 2]), "each": ("pid",)}
    with pytest.raises(LookupError, match="of the block"), getattr(group, block)(*given[block]):
        group.close()
        raise LookupError("of the block")


def test_a_group_that_is_forgotten(members: list[Endpoint]) -> None:
    group = blocking.group(members)
    with pytest.warns(ResourceWarning, match="never closed"):
        del group
