"""Addresses in every form that users write, and in forms that they should not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.address import Address, parse_address


@pytest.mark.parametrize(
    ("written", "host", "port", "endpoint", "text"),
    [
        ("127.0.0.1:3010", "127.0.0.1", 3010, "tcp://127.0.0.1:3010", "127.0.0.1:3010"),
        ("tcp://127.0.0.1:3010", "127.0.0.1", 3010, "tcp://127.0.0.1:3010", "tcp://127.0.0.1:3010"),
        ("worker-7.example:1", "worker-7.example", 1, "tcp://worker-7.example:1", "worker-7.example:1"),
        ("[::1]:65535", "::1", 65535, "tcp://[::1]:65535", "[::1]:65535"),
        ("tcp://[::1]:3010", "::1", 3010, "tcp://[::1]:3010", "tcp://[::1]:3010"),
        (("127.0.0.1", 3010), "127.0.0.1", 3010, "tcp://127.0.0.1:3010", "127.0.0.1:3010"),
        (("::1", 3010), "::1", 3010, "tcp://[::1]:3010", "[::1]:3010"),
        (("localhost", 3010), "localhost", 3010, "tcp://localhost:3010", "localhost:3010"),
    ],
)
def test_tcp(written: Any, host: str, port: int, endpoint: str, text: str) -> None:
    address = parse_address(written)
    assert (address.host, address.port, address.path) == (host, port, "")
    assert address.endpoint() == endpoint
    assert address.text == text
    assert parse_address(written, bind=True) == address


def test_ipc() -> None:
    address = parse_address("ipc:///run/worker 7.sock")
    assert address == Address("ipc:///run/worker 7.sock", path="/run/worker 7.sock")
    assert address.endpoint() == address.endpoint("10.0.0.1") == "ipc:///run/worker 7.sock"
    assert address.is_numeric


def test_a_looked_up_number_takes_the_place_of_the_name() -> None:
    address = parse_address("worker:3010")
    assert address.endpoint("10.0.0.1") == "tcp://10.0.0.1:3010"
    assert address.endpoint("fe80::1") == "tcp://[fe80::1]:3010"


@pytest.mark.parametrize(
    ("written", "numeric"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", False),
        ("10.0.0.1:1", True),
        ("0.0.0.0:1", True),
        ("[::]:1", True),
        ("worker:1", False),
    ],
)
def test_what_the_text_tells(written: str, numeric: bool) -> None:
    address = parse_address(written)
    assert address.is_numeric is numeric


def test_only_a_bind_may_leave_port_and_host_open() -> None:
    assert parse_address("127.0.0.1:0", bind=True).port == 0
    everywhere = parse_address("tcp://*:3010", bind=True)
    assert everywhere.endpoint() == "tcp://0.0.0.0:3010"
    for wrong in ("127.0.0.1:0", ("127.0.0.1", 0), "*:3010"):
        with pytest.raises(ValueError, match="no valid"):
            parse_address(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        "", "worker", ":3010", "worker:", "worker:http", "worker:-1", "worker:65536", "worker:99999999999",
        "worker:٣", "wor ker:1", "worker\n:1", "http://worker:1", "udp://worker:1", "tcp://worker", "tcp://",
        "tcp://worker:1/path", "user@worker:1", "a;b:1", "::1:3010", "[::1]", "[]:1", "[worker:1", "[[::1]]:1",
        "[a:b]:1", "ipc://", "ipc://a\0b", "ipc://@", "inproc://x", ("worker",), ("worker", "1"), ("worker", 1, 2),
        (1, "worker"), ("worker", 65536), ("worker", -1), ("worker", True), ("", 1), (b"worker", 1), ("a:b", 1),
        ("worker", 1.0), "caf\udce9:1", ("\ud800", 1), "a\0b:1", "a\u200b:1", "[fe80::1%\udce9]:1", "ipc:///caf\udce9",
        "ipc://\ud800",
    ],
)  # fmt: skip
@pytest.mark.parametrize("bind", [False, True])
def test_malformed(wrong: Any, bind: bool) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        parse_address(wrong, bind=bind)


@pytest.mark.parametrize("wrong", ["ipc://*", "ipc://*.sock"])
@pytest.mark.parametrize("bind", [False, True])
def test_a_path_is_not_picked(wrong: str, bind: bool) -> None:
    with pytest.raises(ValueError, match="mkdtemp"):
        parse_address(wrong, bind=bind)


@pytest.mark.parametrize("wrong", [None, 3010, b"worker:1", ["worker", 1]])
def test_neither_string_nor_pair(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a string or a pair"):
        parse_address(wrong)


@given(st.text() | st.tuples(st.text(), st.integers()))
def test_anything_else_is_a_value_error(written: Any) -> None:
    try:
        address = parse_address(written)
    except ValueError:
        return
    assert parse_address(address.endpoint()).endpoint() == address.endpoint()
