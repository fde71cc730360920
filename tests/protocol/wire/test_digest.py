"""What tells two requests under one id apart."""

from __future__ import annotations

from typing import Any

import pytest

from mpzmq.config import Limits
from mpzmq.protocol.wire.digest import digest_of
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Op


def asked(*args: Any, function: str = "add", **kwargs: Any) -> bytes:
    return digest_of(Encoder(Limits()), Op.CALL, function, args, kwargs)


LARGE = b"x" * 20_000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (asked(1, [2]), asked(1, (2,)), True),
        (asked(1, a=2), asked(1, a=2), True),
        (asked(1), asked(True), False),
        (asked(1), asked("1"), False),
        (asked(1), asked(1, function="sub"), False),
        (asked(1), asked(1, a=1), False),
        (asked(LARGE), asked(LARGE), True),
        (asked(LARGE), asked(LARGE[1:] + b"y"), False),
        (asked(memoryview(b"abc")), asked(memoryview(b"abc")), True),
        (asked(memoryview(b"abc")), asked(memoryview(b"abd")), False),
        (asked(b"abc"), asked(memoryview(b"abc")), False),
    ],
)
def test_equal_digests_mean_equal_requests(one: bytes, other: bytes, same: bool) -> None:
    assert (one == other) is same
