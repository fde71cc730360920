"""How much may be unread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.protocol.flow.window import CONTROL_RESERVE, ReceiveWindow, SendWindow


def opened(messages: int, size: int) -> SendWindow:
    window = SendWindow()
    window.open(messages, size)
    return window


def test_a_new_window_lets_one_message_through() -> None:
    window = SendWindow()
    assert window.has_room()
    window.on_sent(10)
    assert not window.has_room()


def test_it_closes_by_messages_and_opens_when_they_are_read() -> None:
    window = opened(3, 1000)
    for _ in range(3):
        assert window.has_room()
        window.on_sent(1)
    assert not window.has_room()
    window.on_read(1, 1)
    assert window.has_room()
    window.on_sent(1)
    assert not window.has_room()


def test_it_closes_by_bytes_and_opens_when_they_are_read() -> None:
    window = opened(100, 1000)
    window.on_sent(999)
    assert window.has_room()
    window.on_sent(1)
    assert not window.has_room()
    window.on_read(1, 999)
    assert window.has_room()


def test_a_message_larger_than_the_window_passes_when_nothing_is_unread() -> None:
    window = opened(100, 1000)
    assert window.has_room()
    window.on_sent(1_000_000)
    assert not window.has_room()
    window.on_read(1, 1_000_000)
    assert window.has_room()


def test_control_has_room_beyond_it() -> None:
    window = opened(2, 1000)
    for _ in range(2 + CONTROL_RESERVE):
        assert window.has_control_room()
        window.on_sent(1)
    assert not window.has_control_room()
    window.on_read(1, 1)
    assert window.has_control_room()
    assert not window.has_room()


def test_a_new_connection_starts_with_nothing_unread() -> None:
    window = opened(1, 1)
    window.on_sent(1)
    assert not window.has_room()
    window.open(2, 2)
    window.on_sent(1)
    assert window.has_room()


@pytest.mark.parametrize("counts", [(2**63, 2**63), (5, 10**9), (10**9, 0)])
def test_a_receiver_that_has_read_more_than_was_sent(counts: tuple[int, int]) -> None:
    window = opened(2, 100)
    window.on_sent(10)
    window.on_read(*counts)
    for _ in range(2):
        assert window.has_room()
        window.on_sent(10)
    assert not window.has_room(), "the lie gains nothing"
    window.on_read(3, 30)
    assert window.has_room(), "and closes nothing"


def test_a_receiver_that_takes_back_what_it_has_read() -> None:
    window = opened(1, 100)
    window.on_sent(10)
    window.on_read(1, 10)
    window.on_read(0, 0)
    assert window.has_room()


@given(
    st.integers(1, 5),
    st.integers(1, 100),
    st.lists(st.integers(1, 150) | st.tuples(st.integers(0, 50), st.integers(0, 2000)), max_size=60),
)
def test_never_more_than_the_window_is_unread(messages: int, size: int, steps: list[int | tuple[int, int]]) -> None:
    """An int is a message to be sent, a pair what the receiver says it has read, true or not."""
    window = opened(messages, size)
    sent: list[int] = []
    told_messages = told_bytes = 0
    for step in steps:
        if isinstance(step, tuple):
            window.on_read(*step)
            told_messages = min(max(told_messages, step[0]), len(sent))
            told_bytes = min(max(told_bytes, step[1]), sum(sent))
        elif window.has_room():
            unread = len(sent) - told_messages
            assert unread == 0 or (unread < messages and sum(sent) - told_bytes < size)
            window.on_sent(step)
            sent.append(step)
        else:
            assert len(sent) - told_messages >= messages or sum(sent) - told_bytes >= size
    window.on_read(len(sent), sum(sent))
    assert window.has_room()


# The receiver's half


def test_a_report_is_due_after_a_quarter_of_the_messages() -> None:
    counter = ReceiveWindow(8, 10**6)
    counter.on_read(1)
    assert not counter.is_report_due
    counter.on_read(1)
    assert counter.is_report_due
    counter.on_reported()
    assert not counter.is_report_due
    assert (counter.messages, counter.bytes) == (2, 2)


def test_a_report_is_due_after_a_quarter_of_the_bytes() -> None:
    counter = ReceiveWindow(1000, 400)
    counter.on_read(99)
    assert not counter.is_report_due
    counter.on_read(1)
    assert counter.is_report_due


@pytest.mark.parametrize(("messages", "size"), [(1, 1), (3, 3), (1, 10**9), (10**9, 1)])
def test_the_smallest_windows_are_reported_at_once(messages: int, size: int) -> None:
    counter = ReceiveWindow(messages, size)
    assert not counter.is_report_due
    counter.on_read(1)
    assert counter.is_report_due


@given(st.integers(1, 50), st.integers(1, 5000), st.lists(st.integers(1, 300), max_size=200))
def test_both_halves_never_stop(messages: int, size: int, sizes: list[int]) -> None:
    """A sender that is stopped is told before it waits for ever: whatever was sent and read brings a report."""
    window, counter = opened(messages, size), ReceiveWindow(messages, size)
    for message in sizes:
        assert window.has_room()
        window.on_sent(message)
        counter.on_read(message)
        if counter.is_report_due:
            counter.on_reported()
            window.on_read(counter.messages, counter.bytes)
