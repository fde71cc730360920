"""Text of whatever there is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.common.text import MAX_LENGTH, clean, repr_of, text_of, type_name
from tests.support.odd import Lazy, NoText, NoTraceback, OfOddClass, Twin, Unusual

if TYPE_CHECKING:
    from collections.abc import Callable


class Renamed(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise LookupError("no name")


class Nameless(metaclass=Renamed):
    __repr__ = None  # type: ignore[assignment]


class Long:
    def __repr__(self) -> str:
        return "x" * 1_000_000


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (lambda: 5, "5"),
        (NoText, "<NoText, whose text cannot be had: AttributeError>"),
        (lambda: NoText(SystemExit), "<NoText, whose text cannot be had: SystemExit>"),
        (lambda: NoText(asyncio.CancelledError), "<NoText, whose text cannot be had: CancelledError>"),
        (lambda: NoText(Unusual), "<NoText, whose text cannot be had: Unusual>"),
        (NoTraceback, "<NoTraceback, whose text cannot be had: ValueError>"),
        (lambda: Nameless(), "<Nameless, whose text cannot be had: TypeError>"),
        (lambda: [NoText()], "<list, whose text cannot be had: AttributeError>"),
    ],
)
def test_a_text_of_anything(make: Callable[[], object], shown: str) -> None:
    assert repr_of(make()) == text_of(make()) == shown


def test_a_text_of_what_has_two() -> None:
    assert (repr_of("a"), text_of("a")) == ("'a'", "a")
    assert (repr_of(ValueError("a")), text_of(ValueError("a"))) == ("ValueError('a')", "a")


def test_the_name_of_a_class_is_had_without_asking_it() -> None:
    for kind in (Lazy, NoText, NoTraceback, OfOddClass):
        assert type_name(kind()) == kind.__name__
    assert (type_name(Nameless()), type_name(5)) == ("Nameless", "int")


def test_a_text_can_be_sent_and_has_an_end() -> None:
    assert text_of("a \udcff b") == "a ? b"
    assert len(text_of("x" * 1_000_000)) == len(repr_of(Long())) == MAX_LENGTH + len(" [cut]")
    assert text_of("x" * 10, 4) == "xxxx [cut]"
    assert type(text_of(Twin("a"))) is type(clean(Twin("a"))) is str
    odd: Any = NoText()
    assert clean(odd) == "<NoText, whose text cannot be had: AttributeError>"


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        repr_of(NoText(KeyboardInterrupt))
