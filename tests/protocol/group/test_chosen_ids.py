"""Which members may have run what was asked under an id."""

from __future__ import annotations

from mpzmq.protocol.group.chosen_ids import MAX_IDS, ChosenIds
from tests.protocol.group.making import Made


def test_the_life_of_an_id() -> None:
    ids: ChosenIds[Made] = ChosenIds()
    one, other = Made("a"), Made("b")
    assert ids.taken_by(b"1") == () and not ids.is_answered(b"1")
    ids.on_sent(b"1", one)
    ids.on_sent(b"1", one)
    assert ids.taken_by(b"1") == (one,)
    ids.on_sent(b"1", other)
    assert ids.taken_by(b"1") == (one, other)
    ids.on_not_run(b"1", one)
    assert ids.taken_by(b"1") == (other,)
    ids.on_answered(b"1")
    assert ids.taken_by(b"1") == () and ids.is_answered(b"1")


def test_what_ran_nowhere_is_forgotten() -> None:
    ids: ChosenIds[Made] = ChosenIds()
    member = Made("a")
    ids.on_sent(b"1", member)
    ids.on_not_run(b"1", member)
    ids.on_not_run(b"2", member)
    assert ids.taken_by(b"1") == () and not ids.is_answered(b"1")


def test_the_last_ones_are_remembered() -> None:
    ids: ChosenIds[Made] = ChosenIds()
    member = Made("a")
    for number in range(MAX_IDS + 5):
        ids.on_sent(b"%d" % number, member)
        if number % 2:
            ids.on_answered(b"%d" % number)
    for number in range(MAX_IDS + 5, 3 * MAX_IDS):
        ids.on_answered(b"%d" % number)
        ids.on_sent(b"x%d" % number, member)
    assert len(ids._taken) == len(ids._answered) == MAX_IDS
