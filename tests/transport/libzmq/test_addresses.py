"""Which names of sockets are at an endpoint."""

from __future__ import annotations

from typing import Any

import pytest

from mpzmq.transport.libzmq.addresses import SocketAddresses


@pytest.mark.parametrize(
    ("endpoint", "name", "is_there"),
    [
        ("tcp://127.0.0.1:3010", ("127.0.0.1", 3010), True),
        ("tcp://127.0.0.1:3010", ("127.0.0.1", 3011), False),
        ("tcp://127.0.0.1:3010", ("127.0.0.2", 3010), False),
        ("tcp://0.0.0.0:3010", ("10.1.2.3", 3010), True),
        ("tcp://0.0.0.0:3010", ("0.0.0.0", 3010), True),
        ("tcp://0.0.0.0:3010", ("10.1.2.3", 3011), False),
        ("tcp://[::]:3010", ("::ffff:10.1.2.3", 3010, 0, 0), True),
        ("tcp://[0::1]:3010", ("::1", 3010, 0, 0), True),
        ("tcp://[fe80::1%eth0]:3010", ("fe80::1%eth0", 3010, 0, 2), True),
        ("tcp://[fe80::1%eth0]:3010", ("fe80::2%eth0", 3010, 0, 2), False),
        ("ipc:///run/socket", "/run/socket", True),
        ("ipc:///run/socket", "/run/other", False),
        ("ipc:///run/socket", "", False),
        ("ipc://@name", b"\0name", True),
        ("ipc://@name", b"\0other", False),
        ("ipc:///run/socket", ("127.0.0.1", 3010), False),
        ("tcp://127.0.0.1:3010", b"\0name", False),
    ],
)
def test_a_name(endpoint: str, name: Any, is_there: bool) -> None:
    addresses = SocketAddresses()
    assert not addresses
    assert name not in addresses
    addresses.add(endpoint)
    assert addresses
    assert (name in addresses) is is_there
