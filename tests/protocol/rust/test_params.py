"""Records of the Rust crate's wire, as JSON."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from mpzmq import EncodeError
from mpzmq.config import DEFAULT_LIMITS
from mpzmq.protocol.rust.params import JsonEncoder, MalformedParams, RustParams, read_params, write_params
from mpzmq.protocol.wire.kinds import Op

ID = UUID("6ba7b810-9dad-41d1-80b4-00c04fd430c8")
INVOKE = (
    '{"id":"6ba7b810-9dad-41d1-80b4-00c04fd430c8","method":"Invoke","status":"RUNNING","data":{"a":[1,2.5,null,"ü"]}}'
)


def test_a_record_is_written_as_the_crate_writes_it() -> None:
    assert write_params(ID.bytes, Op.INVOKE, 1, {"a": [1, 2.5, None, "ü"]}).decode() == INVOKE
    assert write_params(ID.bytes, Op.SETSTATE, 0, None).decode() == (
        '{"id":"6ba7b810-9dad-41d1-80b4-00c04fd430c8","method":"Setstate","status":"STOP","data":null}'
    )


def test_a_record_is_read_with_its_fields_in_any_order() -> None:
    assert read_params(INVOKE.encode()) == RustParams(ID.bytes, Op.INVOKE, 1, {"a": [1, 2.5, None, "ü"]})
    body = b'{"more":1,"status":"STOP","method":"Getstate","id":"6BA7B810-9DAD-41D1-80B4-00C04FD430C8"}'
    assert read_params(body) == RustParams(ID.bytes, Op.GETSTATE, 0, None)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[]", b"3", b"{}", b'{"id":3}', b'{"id":"x"}', b"[" * 100_000, b'{"id":NaN}', b'{"id":null}'],
)
def test_what_has_no_id_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedParams) as caught:
        read_params(body)
    assert caught.value.tag == b""


@pytest.mark.parametrize("rest", ["", ',"method":"Stop"', ',"method":["Invoke"]', ',"method":"Invoke","status":1'])
def test_what_has_an_id_can_be_answered(rest: str) -> None:
    with pytest.raises(MalformedParams) as caught:
        read_params(f'{{"id":"{ID}"{rest}}}'.encode())
    assert caught.value.tag == ID.bytes


@pytest.mark.parametrize("value", [None, True, 3, -(2**63), 2.5, "ü", [1, [2]], (1, 2), {"a": {"b": []}}, 2**64 - 1])
def test_json_carries(value: Any) -> None:
    encoder = JsonEncoder(DEFAULT_LIMITS)

    assert encoder.prepare(value, "data", []) == value


@pytest.mark.parametrize(
    ("value", "path", "what"),
    [
        (b"x", "data", "bytes"),
        ([b"x" * 100_000], "data[0]", "bytes or another buffer"),
        ({"user": {"id": ID}}, "data['user']['id']", "UUID"),
        ({"at": datetime.now(UTC)}, "data['at']", "datetime"),
        ([0, {1: 2}], "data[1]", "a dict with the key 1, of type int"),
        (math.nan, "data", "nan"),
        ([[math.inf]], "data[0][0]", "inf"),
    ],
)
def test_what_json_does_not_carry_is_named_with_its_path(value: Any, path: str, what: str) -> None:
    encoder = JsonEncoder(DEFAULT_LIMITS)

    with pytest.raises(EncodeError) as caught:
        encoder.prepare(value, "data", [])
    assert caught.value.path == path
    assert f"cannot send {path}: {what}" in str(caught.value)


def test_metadata_stays_on_this_side_whatever_it_is() -> None:
    encoder = JsonEncoder(DEFAULT_LIMITS)

    encoder.prepare_all({"trace": b"x"}, "metadata", [])
    with pytest.raises(EncodeError):
        encoder.prepare_all((b"x",), "args", [])
