"""Which workers of a cluster have a container: decided without a cluster."""

from __future__ import annotations

from mpzmq.fleets.placement import RETRY_AFTER, Placement


def placed(wanted: int | None, *workers: str) -> Placement:
    """A placement in which the chosen workers serve."""
    placement = Placement(wanted)
    for worker in workers:
        placement.on_worker(worker)
    for worker in placement.decide(0.0)[0]:
        placement.on_serving(worker, {"worker": worker})
    return placement


def serving(placement: Placement) -> list[str]:
    return [served["worker"] for served in placement.told()["serving"]]


def test_all_workers_are_chosen_those_that_come_later_included() -> None:
    placement = placed(None, "a", "b")
    assert serving(placement) == ["a", "b"]
    placement.on_worker("c")
    assert placement.decide(1.0) == (["c"], [])
    assert placement.decide(1.0) == ([], [])  # it counts as begun


def test_so_many_are_chosen_and_others_take_the_place_of_those_that_go() -> None:
    placement = placed(2, "a", "b", "c")
    assert serving(placement) == ["a", "b"]
    assert placement.is_carrying("a")
    assert not placement.is_carrying("c")
    placement.on_loss("a")
    assert placement.decide(1.0) == (["c"], [])


def test_fewer_are_wanted() -> None:
    placement = placed(3, "a", "b", "c")
    placement.want(1)
    assert placement.decide(1.0) == ([], ["b", "c"])
    assert placement.told()["ending"] == ["b", "c"]
    placement.on_end("b")
    placement.want(2)
    assert placement.decide(1.0) == (["b"], [])  # c has not ended yet


def test_who_does_not_serve_yet_is_given_up_first() -> None:
    placement = placed(2, "a", "b")
    placement.on_failure("a", "why", 0.0)
    placement.decide(RETRY_AFTER)  # a starts again
    placement.want(1)
    assert placement.decide(RETRY_AFTER) == ([], ["a"])


def test_where_it_fails_it_is_tried_again_a_while_later() -> None:
    placement = placed(1, "a", "b")
    placement.on_failure("a", "no such module", 10.0)
    assert placement.decide(10.0) == (["b"], [])
    placement.on_failure("b", "no such module", 11.0)
    assert placement.decide(11.0) == ([], [])
    assert placement.told()["failures"] == {"a": "no such module", "b": "no such module"}
    assert placement.next_retry() == 10.0 + RETRY_AFTER
    assert placement.decide(10.0 + RETRY_AFTER) == (["a"], [])
    assert placement.told()["failures"]["a"] == "no such module"  # until it serves
    placement.on_serving("a", {"worker": "a"})
    assert placement.told()["failures"] == {"b": "no such module"}


def test_what_comes_too_late_changes_nothing() -> None:
    placement = placed(1, "a", "b")
    placement.want(0)
    placement.decide(1.0)
    version = placement.version
    placement.on_serving("a", {"worker": "a"})  # it is being ended
    placement.on_failure("a", "why", 1.0)
    placement.on_serving("gone", {"worker": "gone"})
    placement.on_end("b")
    assert (placement.version, serving(placement), placement.told()["failures"]) == (version, [], {})
