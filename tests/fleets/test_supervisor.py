"""Which processes are to run: each rule by itself, and all of them under whatever happens."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mpzmq.cli import output
from mpzmq.fleets.supervisor import CANNOT_BIND, NO_REMEDY, Restarts, Start, State, Supervisor, Terminate, ending
from mpzmq.manifests import Workload, systemd
from tests.fleets.host import Host

PORTS = [3010, 3011, 3012, 3013]
RESTARTS = Restarts(
    start_timeout=20.0, end_timeout=5.0, max_restarts=3, first_pause=1.0, max_pause=3.0, sound_after=10.0
)


def settled(replicas: int, ports: list[int] | None = None) -> Host:
    host = Host(replicas, ports, RESTARTS)
    host.start()
    host.settle()
    assert host.supervisor.is_settled
    return host


def test_the_first_process_finds_its_server_before_the_others_look_for_it() -> None:
    host = Host(3)
    host.start()
    assert [*host.slots.values()] == [0]
    host.load(1)
    assert [*host.slots.values()] == [0, 1, 2]
    host.run()
    assert host.supervisor.is_settled
    assert host.supervisor.endpoints() == {slot: f"tcp://127.0.0.1:{10_001 + slot}" for slot in range(3)}


def test_where_there_is_no_server_it_is_told_once() -> None:
    host = Host(3)
    host.start()
    host.end(1, 66)
    assert (host.code, host.started) == (66, 1)
    assert host.told == ["0: has ended with exit code 66 before it served"]


@pytest.mark.parametrize("code", sorted(NO_REMEDY))
def test_what_another_start_does_not_mend_is_told_once(code: int) -> None:
    host = Host(3)
    host.start()
    host.load(1)
    host.end(1, code)
    host.run()
    assert (host.code, host.started) == (code, 3)
    assert host.told[0] == f"0: has ended with exit code {code} before it served"
    # Where some have served, it may be mended meanwhile.
    host = settled(1)
    host.end(1, code)
    assert host.told[-1].endswith("it is started again in 1 s") and host.code is None


def test_exit_codes_are_those_of_the_command_line_and_of_systemd() -> None:
    assert output.CANNOT_BIND == CANNOT_BIND
    assert {output.USAGE, output.NO_SERVER, output.INSECURE, output.BAD_KEYS} == NO_REMEDY
    codes = " ".join(str(code) for code in sorted(NO_REMEDY))
    assert f"\nRestartPreventExitStatus={codes}\n" in systemd(Workload(server="a:b", name="a"))


def test_one_that_ends_is_started_again_after_a_pause_that_becomes_longer() -> None:
    host = settled(2)
    for pause in (1.0, 2.0, 3.0):
        (key,) = [key for key, slot in host.slots.items() if slot == 1]
        host.end(key, -signal.SIGKILL)
        when = "" if pause == 1.0 else " before it served"
        assert host.told[-1] == f"1: has ended by SIGKILL{when}; it is started again in {pause:g} s"
        host.wait(pause - 0.01)
        assert [*host.slots.values()] == [0]
        host.wait(0.01)
        assert [*host.slots.values()] == [0, 1]
    (key,) = [key for key, slot in host.slots.items() if slot == 1]
    host.end(key, 3)
    assert host.told[-1] == (
        "1: has ended with exit code 3 before it served, and is given up after 4 failures in a row"
    )
    host.wait(1000.0)
    assert [*host.slots.values()] == [0] and host.code is None
    # What was given up is tried again when somebody asks for new processes.
    host.reload()
    host.settle()
    assert host.supervisor.is_settled


def test_the_end_of_the_last_one_is_the_end() -> None:
    host = Host(1, None, Restarts(max_restarts=0))
    host.start()
    host.serve(1)
    host.end(1, 7)
    assert host.code == 7


def test_one_that_has_served_for_long_begins_anew() -> None:
    host = settled(1)
    for _ in range(10):
        host.end(next(iter(host.ports)), 1)
        assert host.told[-1].endswith("again in 1 s")
        host.wait(1.0)
        host.run()
        host.wait(10.0)


def test_one_that_hangs_in_its_start_is_killed() -> None:
    host = settled(1)
    host.end(1, 1)
    host.wait(1.0)
    assert host.killed == set()
    host.wait(20.0)
    assert host.killed == {2}
    host.run()
    assert host.told[-2:] == [
        "0: is not serving in time, and is killed",
        "0: did not serve in time, and was killed; it is started again in 2 s",
    ]


def test_a_reload_starts_each_new_one_before_its_old_one_ends() -> None:
    host = settled(3)
    host.reload()
    for slot in range(3):
        old, new = 1 + slot, 4 + slot
        assert host.ports.keys() == {*range(1 + slot, 5 + slot)} and host.terminated == {*range(1, old)}
        host.serve(new)
        assert host.terminated == {*range(1, old + 1)} and host.started == new
        host.end(old, 0)
    assert host.supervisor.is_settled and not host.supervisor.is_reloading
    assert host.started == 6


def test_a_reload_with_a_port_to_spare_is_the_same() -> None:
    host = settled(3, PORTS)
    host.reload()
    assert host.started == 4 and not host.terminated
    host.settle()
    assert host.supervisor.is_settled and host.started == 6


def test_a_reload_without_a_port_to_spare_ends_the_old_one_first() -> None:
    host = settled(4, PORTS)
    host.reload()
    for slot in range(4):
        assert host.terminated == {*range(1, 2 + slot)} and len(host.ports) == 4
        host.end(1 + slot, 0)
        assert host.ports[5 + slot] == PORTS[slot]
        host.serve(5 + slot)
    assert host.supervisor.is_settled and not host.supervisor.is_reloading


def test_a_new_one_that_does_not_serve_ends_the_reload() -> None:
    host = settled(2)
    host.reload()
    host.end(3, 66)
    assert "the reload is given up: a new process does not serve; the other ones stay" in host.told
    assert host.supervisor.is_settled and not host.terminated
    host.wait(1000.0)
    assert host.started == 3


@pytest.mark.parametrize("ports", [None, PORTS])
def test_a_reload_while_one_is_under_way_replaces_the_new_ones_too(ports: list[int] | None) -> None:
    host = settled(4, ports)
    host.reload()
    for _ in range(50):
        host.reload()
    assert len(host.ports) <= 5
    host.settle()
    assert host.supervisor.is_settled and not host.supervisor.is_reloading
    # Neither those of before, nor one that was being started then: it may have begun with what was there before.
    assert min(host.ports) > (5 if ports is None else 4)


def test_one_that_ends_while_it_is_replaced_has_its_successor() -> None:
    host = settled(2)
    host.reload()
    host.end(1, -signal.SIGSEGV)
    assert host.told[-1] == "0: has ended by SIGSEGV"
    host.settle()
    assert host.supervisor.is_settled and host.started == 4


def test_the_end_during_a_reload() -> None:
    host = settled(2)
    host.reload()
    host.serve(3)
    host.stop()
    assert host.terminated == {1, 2, 3}
    host.reload()
    for key in (3, 1, 2):
        host.end(key, 0)
    assert (host.code, host.started) == (0, 3)


def test_one_that_was_starting_is_no_failure_when_it_is_ended() -> None:
    host = settled(1)
    host.reload()
    host.stop()
    host.end(2, -signal.SIGTERM)
    host.end(1, 0)
    assert host.code == 0


def test_the_exit_code_is_that_of_the_worst() -> None:
    host = settled(3)
    host.stop()
    host.end(1, 0)
    host.wait(5.0)
    assert host.killed == {2, 3}
    assert host.told[-1] == "2: is not gone in time, and is killed"
    host.end(2, -signal.SIGKILL)
    host.end(3, 5)
    assert host.code == 128 + signal.SIGKILL


def test_a_second_signal_closes_and_then_kills() -> None:
    host = settled(2)
    host.stop()
    host.supervisor.stop_now(host.now, 1.0)
    assert [effect for effect in host.take() if isinstance(effect, Terminate)] == [Terminate(1), Terminate(2)]
    host.wait(0.9)
    assert not host.killed
    host.wait(0.1)
    assert host.killed == {1, 2}
    host.run()
    assert host.code == 137


def test_to_scale_up_and_down() -> None:
    host = settled(2)
    host.scale(4)
    assert host.started == 4
    host.settle()
    host.scale(1)
    assert host.terminated == {2, 3, 4} and host.supervisor.endpoints().keys() == {0}
    host.scale(2)  # while the old ones drain
    assert host.started == 5
    host.settle()
    assert host.supervisor.is_settled


def test_a_port_that_is_taken_is_not_the_only_one() -> None:
    host = Host(1, PORTS, RESTARTS)
    host.start()
    host.load(1)
    host.end(1, 71)
    host.wait(1.0)
    assert host.ports == {2: 3011}
    host.run()
    host.end(2, 1)
    host.wait(2.0)
    assert host.ports == {3: 3011}  # where it is known to be


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "with exit code 0"), (-15, "by SIGTERM"), (-64, "by SIGRTMAX"), (-99, "by signal 99")],
)
def test_how_one_has_ended(code: int, words: str) -> None:
    assert ending(code) == words


class AnyOrder(RuleBasedStateMachine):
    """Processes that start, hang, fail and end in any order, while somebody reloads and scales."""

    host: Host

    @initialize(replicas=st.integers(1, 4), spare=st.sampled_from([None, 0, 1, 3]))
    def begin(self, replicas: int, spare: int | None) -> None:
        ports = None if spare is None else [*range(3010, 3010 + 4 + spare)]
        self.beside = ports is None
        self.host = Host(replicas, ports, RESTARTS)
        self.host.start()
        self.host.serve(1)

    def is_open(self) -> bool:
        return hasattr(self, "host") and self.host.code is None

    @precondition(is_open)
    @rule(data=st.data(), code=st.sampled_from([0, 1, 66, 71, -9, -11, -15]))
    def one_ends(self, data: st.DataObject, code: int) -> None:
        if self.host.ports:
            self.host.end(data.draw(st.sampled_from(sorted(self.host.ports))), code)

    @precondition(is_open)
    @rule(data=st.data())
    def one_does_what_it_is_told(self, data: st.DataObject) -> None:
        if self.host.ports:
            key = data.draw(st.sampled_from(sorted(self.host.ports)))
            before = self.serving()
            self.host.run(key)
            self.nobody_went_missing(before)

    @precondition(is_open)
    @rule()
    def reload(self) -> None:
        before = self.serving()
        self.host.reload()
        self.nobody_went_missing(before)

    @precondition(is_open)
    @rule(replicas=st.integers(1, 4))
    def scale(self, replicas: int) -> None:
        self.host.scale(replicas)

    @precondition(is_open)
    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 3.0, 10.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.host.wait(seconds)

    @precondition(lambda self: not self.is_open())
    @rule()
    def over_is_over(self) -> None:
        self.host.reload()
        self.host.scale(4)
        self.host.wait(100.0)
        assert not self.host.ports

    def serving(self) -> set[int]:
        return {*self.host.supervisor.endpoints()}

    def nobody_went_missing(self, before: set[int]) -> None:
        """Where there is a port to spare, a reload never leaves a slot without a process that serves."""
        if self.beside:
            assert before <= self.serving()

    @invariant()
    def books(self) -> None:
        if not self.is_open():
            return
        supervisor = self.host.supervisor
        assert {process.key for process in supervisor.processes} == self.host.ports.keys()
        two = []
        for slot in {process.slot for process in supervisor.processes}:
            here = [p for p in supervisor.processes if p.slot == slot and p.state is not State.ENDING]
            assert len(here) <= 2 and len([p for p in here if p.state is State.STARTING]) <= 1
            if len(here) == 2:
                two.append(slot)
        assert len(two) <= 1, "more than one at a time is replaced"
        for process in supervisor.processes:
            told = process.key in self.host.terminated
            assert told == (process.state is State.ENDING)
            if process.state is not State.SERVING:
                is_killed = process.key in self.host.killed
                assert is_killed or (process.deadline is not None and process.deadline >= self.host.now)

    def teardown(self) -> None:
        if not self.is_open():
            return
        self.host.settle()
        supervisor = self.host.supervisor
        if self.host.code is None:
            self.host.reload()  # what was given up is tried again
            self.host.settle()
            assert supervisor.is_settled and not supervisor.is_reloading
            self.host.stop()
            self.host.settle()
        assert self.host.code is not None and not self.host.ports


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_nothing_is_started_once_it_is_over() -> None:
    supervisor = Supervisor(1)
    supervisor.start(0.0)
    assert [type(effect) for effect in supervisor.effects] == [Start]
    supervisor.on_ended(1, 66, 1.0)
    supervisor.effects.clear()
    supervisor.scale(3, 2.0)
    supervisor.reload(3.0)
    supervisor.on_time(1000.0)
    supervisor.stop(1001.0)
    assert not supervisor.effects and supervisor.deadline() is None
