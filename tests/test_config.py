"""Policies: every default, and what each refuses."""

from __future__ import annotations

import dataclasses
import inspect
import math
import pickle
from typing import Any

import pytest

from mpzmq.config import MIN_RECONNECT_INTERVAL, GroupPolicy, HeartbeatPolicy, Limits, ReconnectPolicy

MIB = 1024 * 1024
Policy = type[ReconnectPolicy] | type[HeartbeatPolicy] | type[Limits] | type[GroupPolicy]

DEFAULTS: dict[Policy, dict[str, Any]] = {
    ReconnectPolicy: {
        "enabled": True,
        "max_attempts": None,
        "interval": 1.0,
        "connect_timeout": 3.0,
        "lost_after": 5.0,
    },
    GroupPolicy: {
        "pick": "least",
        "max_attempts": 3,
        "retry_ratio": 0.2,
        "retry_floor": 10.0,
        "eject_errors": 5,
        "eject_for": 30.0,
        "max_ejected": 0.5,
        "max_in_flight": None,
        "refresh": 5.0,
        "lost_after": 3.0,
    },
    HeartbeatPolicy: {"interval": 2.0, "down_after": 5.0, "stuck_after": None},
    Limits: {
        "message_bytes": 64 * MIB,
        "in_flight": 10_000,
        "window": 512,
        "queued_bytes": 64 * MIB,
        "total_bytes": 512 * MIB,
        "batch_records": 256,
        "reply_entries": 10_000,
        "reply_bytes": 8 * MIB,
        "reply_ttl": 300.0,
        "sessions": 10_000,
        "handshakes": 1024,
        "threads": 32,
        "events": 1024,
        "stream_items": 1024,
        "stream_bytes": 4 * MIB,
        "depth": 64,
        "items": 100_000,
    },
}
POLICIES = list(DEFAULTS)
LIMITS = [name for name in DEFAULTS[Limits] if name != "reply_ttl"]


@pytest.mark.parametrize("policy", POLICIES)
def test_defaults(policy: Policy) -> None:
    assert dataclasses.asdict(policy()) == DEFAULTS[policy]


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_frozen_keyword_only_values(policy: Policy) -> None:
    one: Any = policy()
    with pytest.raises(TypeError):
        policy(*[1])
    for field in dataclasses.fields(policy):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, field.name, 1)
    assert one == policy() and hash(one) == hash(policy())
    assert pickle.loads(pickle.dumps(one)) == one
    assert dataclasses.replace(one) == one


@pytest.mark.parametrize("policy", POLICIES)
def test_every_field_is_documented(policy: Policy) -> None:
    for name in DEFAULTS[policy]:
        assert f"\n    {name}: " in (inspect.getdoc(policy) or "")


@pytest.mark.parametrize("policy", [ReconnectPolicy, HeartbeatPolicy])
@pytest.mark.parametrize("value", [0, -1, -0.5, math.inf, -math.inf, math.nan])
def test_seconds_are_positive_and_finite(policy: Policy, value: Any) -> None:
    for name in DEFAULTS[policy]:
        if name not in ("enabled", "max_attempts") and (name, value) != ("lost_after", 0):  # 0: at the loss
            with pytest.raises(ValueError, match=f"{policy.__name__}.{name}"):
                policy(**{name: value})


@pytest.mark.parametrize("policy", [ReconnectPolicy, HeartbeatPolicy])
@pytest.mark.parametrize("value", [True, "1", b"1", [1], 1j])
def test_seconds_are_numbers(policy: Policy, value: Any) -> None:
    for name in DEFAULTS[policy]:
        if name not in ("enabled", "max_attempts"):
            with pytest.raises(TypeError, match=f"{policy.__name__}.{name} is a number of seconds"):
                policy(**{name: value})


def test_reconnect_attempts() -> None:
    assert [ReconnectPolicy(max_attempts=n).max_attempts for n in (None, 0, 5)] == [None, 0, 5]
    with pytest.raises(ValueError, match="max_attempts must be 0 or more"):
        ReconnectPolicy(max_attempts=-1)
    for wrong in (1.0, True, "5"):
        with pytest.raises(TypeError, match="max_attempts is an int or None"):
            ReconnectPolicy(max_attempts=wrong)  # type: ignore[arg-type]


def test_reconnect_enabled_is_a_bool() -> None:
    with pytest.raises(TypeError, match="enabled is a bool, not int"):
        ReconnectPolicy(enabled=1)  # type: ignore[arg-type]


def test_reconnect_interval_has_a_floor() -> None:
    assert MIN_RECONNECT_INTERVAL == 0.010
    assert ReconnectPolicy(interval=MIN_RECONNECT_INTERVAL).interval == 0.010
    with pytest.raises(ValueError, match=r"at least 0.01 seconds"):
        ReconnectPolicy(interval=0.0099)


def test_down_after_exceeds_two_intervals() -> None:
    assert HeartbeatPolicy(interval=1, down_after=2.001).down_after == 2.001
    with pytest.raises(ValueError, match="must exceed two intervals"):
        HeartbeatPolicy(interval=1, down_after=2)
    with pytest.raises(ValueError, match="must exceed two intervals"):
        HeartbeatPolicy(interval=3)


def test_stuck_after_exceeds_two_intervals() -> None:
    assert HeartbeatPolicy(stuck_after=4.5).stuck_after == 4.5
    with pytest.raises(ValueError, match="stuck_after"):
        HeartbeatPolicy(stuck_after=4.0)


@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_how_long_replies_are_kept_is_positive_and_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"Limits\.reply_ttl"):
        Limits(reply_ttl=value)


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_positive_ints(name: str) -> None:
    for wrong in (1.5, True, "5", *([] if name == "reply_entries" else [None])):
        with pytest.raises(TypeError, match=f"Limits.{name} is an int"):
            Limits(**{name: wrong})  # type: ignore[arg-type]
    for wrong_number in (0, -1):
        with pytest.raises(ValueError, match=f"Limits.{name} must be"):
            Limits(**{name: wrong_number})


@pytest.mark.parametrize("name", sorted(set(LIMITS) - {"message_bytes"}))
def test_limits_may_be_small(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1


def test_as_many_replies_are_kept_as_may_be_in_flight() -> None:
    assert Limits().reply_entries == 10_000 and Limits(in_flight=50).reply_entries == 50
    assert Limits(in_flight=50, reply_entries=7).reply_entries == 7
    assert Limits(in_flight=50, reply_entries=None).reply_entries == 50  # type: ignore[arg-type]  # as the table shows it
    small = 256 + 80
    assert Limits().in_flight * small <= Limits().reply_bytes


def test_message_bytes_holds_a_handshake() -> None:
    assert Limits(message_bytes=4096).message_bytes == 4096
    with pytest.raises(ValueError, match="4096 or more"):
        Limits(message_bytes=4095)


def test_depth_stays_below_the_recursion_limit() -> None:
    assert Limits(depth=256).depth == 256
    with pytest.raises(ValueError, match="256 or less"):
        Limits(depth=257)


def test_what_libzmq_cannot_count_is_refused() -> None:
    for wrong in (
        lambda: ReconnectPolicy(interval=1e9),
        lambda: HeartbeatPolicy(interval=1e7, down_after=1e8),
        lambda: Limits(message_bytes=1 << 70),
        lambda: Limits(in_flight=1 << 31),
    ):
        with pytest.raises(ValueError, match=r"1,000,000|larger than"):
            wrong()


@pytest.mark.parametrize("name", ["max_attempts", "eject_errors", "max_in_flight"])
def test_counts_of_a_group(name: str) -> None:
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"GroupPolicy.{name} must be 1 or more"):
            GroupPolicy(**{name: value})  # type: ignore[arg-type]
    for other in (1.0, True, "3"):
        with pytest.raises(TypeError, match=f"GroupPolicy.{name} is an int"):
            GroupPolicy(**{name: other})  # type: ignore[arg-type]
    assert getattr(GroupPolicy(**{name: 7}), name) == 7  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["retry_ratio", "retry_floor", "max_ejected"])
def test_shares_of_a_group(name: str) -> None:
    for value in (-0.1, math.nan, math.inf, -math.inf, 10**400, 10**5000):
        with pytest.raises(ValueError, match=f"GroupPolicy.{name} must be 0 or more"):
            GroupPolicy(**{name: value})  # type: ignore[arg-type]
    for other in (True, "0.2", None):
        with pytest.raises(TypeError, match=f"GroupPolicy.{name} is a number"):
            GroupPolicy(**{name: other})  # type: ignore[arg-type]
    assert getattr(GroupPolicy(**{name: 0}), name) == 0  # type: ignore[arg-type]
    if name == "max_ejected":
        with pytest.raises(ValueError, match="max_ejected"):
            GroupPolicy(max_ejected=1.1)


@pytest.mark.parametrize("name", ["eject_for", "refresh", "lost_after"])
def test_seconds_of_a_group(name: str) -> None:
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"GroupPolicy.{name}"):
            GroupPolicy(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"GroupPolicy.{name}"):
        GroupPolicy(**{name: "1"})  # type: ignore[arg-type]


@pytest.mark.parametrize("pick", ["most", "", None, 3])
def test_a_way_to_pick_that_is_none(pick: Any) -> None:
    with pytest.raises(ValueError, match=r"GroupPolicy\.pick is"):
        GroupPolicy(pick=pick)
    assert callable(GroupPolicy(pick=lambda members, call: members[0]).pick)
