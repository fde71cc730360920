"""Some hundred seeds, and that the simulation is what it has to be: deterministic, and able to fail.

``python -m tests.simulation --seeds 100000`` runs more of them, with ``--world applications`` those that are odd.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from . import fleets
from .applications.plan import (
    AROUND,
    ASYNC_DEPENDENCY,
    ASYNC_HANDLER,
    MAPPING,
    PICK,
    PLAIN_DEPENDENCY,
    PROGRESS,
    make_plan,
)
from .mutations import MUTATIONS, ROOT, catch
from .run import run, trace
from .worlds import WORLDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .mutations import Mutation
    from .violation import Violation

SEEDS = 25
"""How many one test runs."""

FIRST = 100
"""Those before it are run, and held to the promises, by the test that looks at what all of them reach."""

APPLICATIONS = 15
"""The same, of applications, each of which takes longer."""

JOINING = 20
"""The same, of containers that dial in."""

SHOWN = 5
"""How many of them a failure names, and how many violations of each."""


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Records of the log cost a tenth of the time, and nobody reads them."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(FIRST, 250, SEEDS))
def test_every_promise_is_kept(first: int) -> None:
    _keeps_every_promise("network", range(first, first + SEEDS))


@pytest.mark.parametrize("first", range(0, 30, APPLICATIONS))
def test_every_promise_is_kept_by_odd_applications(first: int) -> None:
    _keeps_every_promise("applications", range(first, first + APPLICATIONS))


@pytest.mark.parametrize("first", range(0, 40, JOINING))
def test_every_promise_is_kept_where_containers_dial_in(first: int) -> None:
    _keeps_every_promise("joining", range(first, first + JOINING))


def test_a_world_of_joining_is_always_the_same_and_reaches_what_it_is_for() -> None:
    run, trace = WORLDS["joining"]
    results = [run(seed) for seed in range(12)]
    assert list(trace(results[3])) == list(trace(run(3)))
    wanted = {"reply", "ConnectionLost", "left", "replaced", "replay", "wrong", "accepted again"}
    assert not wanted - {name for result in results for name in result.reached}


def _keeps_every_promise(world: str, seeds: range) -> None:
    _fail_if(world, {seed: found for seed in seeds if (found := WORLDS[world].run(seed).violations)})


def _fail_if(world: str, broken: Mapping[int, Sequence[Violation]]) -> None:
    if broken:
        lines = [f"{len(broken)} seeds broke a promise:"]
        for seed, found in list(broken.items())[:SHOWN]:
            lines.append(f"python -m tests.simulation --world {world} --seed {seed}")
            lines += [f"    {violation}" for violation in found[:SHOWN]]
        pytest.fail("\n".join(lines), pytrace=False)


@pytest.mark.parametrize("seed", range(2))
def test_an_application_is_always_the_same(seed: int) -> None:
    run, trace = WORLDS["applications"]
    assert list(trace(run(seed))) == list(trace(run(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_is_always_the_same(seed: int) -> None:
    assert list(trace(run(seed))) == list(trace(run(seed)))


def test_a_seed_is_the_same_in_another_process() -> None:
    """Neither addresses of objects nor hashes of strings decide anything."""
    seeds = range(20, 26)
    code = "import logging, sys; logging.disable(); from tests.simulation.run import run, trace\n"
    code += "for seed in map(int, sys.argv[1:]): print(*trace(run(seed)), sep='\\n')"
    command = [sys.executable, "-c", code, *map(str, seeds)]
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    seen = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert seen.splitlines() == "\n".join(line for seed in seeds for line in trace(run(seed))).splitlines()


def test_a_fleet_that_is_lost_and_comes_back_makes_no_storm() -> None:
    """``python -m tests.simulation.fleets`` runs ten thousand."""
    seen = fleets.run(100, rate=50)
    assert not seen.violations
    assert {"reply", "RequestTimeout NO", "ConnectionLost UNKNOWN"} <= set(seen.outcomes)


def test_odd_applications_do_what_they_are_for() -> None:
    """Every piece of them has done each of its odd things, sooner or later."""
    kinds = {
        "layer": AROUND, "sent": AROUND, "outer": ASYNC_DEPENDENCY, "inner": PLAIN_DEPENDENCY, "handler": ASYNC_HANDLER,
        "mapping": MAPPING, "progress": PROGRESS, "pick": PICK,
    }  # fmt: skip
    unseen = {f"{place}:{kind}" for place, those in kinds.items() for kind in those}
    for seed in range(2000):
        unseen -= {odd for ask in make_plan(seed).asks for odd in ask.odd}
        if not unseen:
            break
    assert not unseen


def test_the_first_seeds_reach_what_the_simulation_is_for_and_keep_every_promise() -> None:
    broken = {}
    reached: dict[str, bool] = {}
    for seed in range(200):
        ended = run(seed)
        if ended.violations:
            broken[seed] = ended.violations
        reached = {name: was_reached or reached.get(name, False) for name, was_reached in ended.reached.items()}
        unseen = {name for name, was_reached in reached.items() if not was_reached} - {"ProtocolError"}
        if seed + 1 >= FIRST and not unseen:
            break
    _fail_if("network", broken)
    assert not unseen  # of ProtocolError nothing: nothing malformed is sent here


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_stands_for_code_that_exists(mutation: Mutation) -> None:
    assert (ROOT / "mpzmq" / mutation.file).read_text("utf-8").count(mutation.old) == 1


def test_a_mutation_is_caught() -> None:
    """One of them here; ``python -m tests.simulation --mutations`` tries all."""
    assert catch(MUTATIONS[0], [], seeds=50)
