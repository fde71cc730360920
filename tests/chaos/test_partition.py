"""Partitions that nobody is told of: too short to matter, longer than anybody waits, and in one direction only."""

from __future__ import annotations

import pytest

from mpzmq import HeartbeatPolicy, ReconnectPolicy
from tests.support.waiting import scaled

from .history import described
from .netns import why_not
from .partition import WAYS, Ticket, partitioned

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

# The default policies, scaled down: ``python -m tests.chaos --partition 30`` is the same with the defaults.
HEARTBEAT = HeartbeatPolicy(interval=scaled(0.5), down_after=scaled(1.2))
RECONNECT = ReconnectPolicy(interval=0.1, connect_timeout=scaled(1.0), lost_after=None)
SHORT = 0.45
"""Seconds. TCP sends again after 0.2, 0.6 and 1.4 s: what was lost first has to come through before down_after."""

LONG = 2.0 * HEARTBEAT.down_after
A_BUSY_MACHINE = scaled(1.0)


@pytest.mark.parametrize("way", WAYS)
def test_a_partition_that_is_shorter_than_down_after_loses_nothing(way: Ticket) -> None:
    found = partitioned(way, SHORT, HEARTBEAT, RECONNECT)
    assert not found.violations, described(found.violations)
    assert found.detected is None
    assert set(found.outcomes) == {"replied"}


@pytest.mark.parametrize("way", WAYS)
def test_a_long_partition_is_seen_and_survived(way: Ticket) -> None:
    found = partitioned(way, LONG, HEARTBEAT, RECONNECT)
    assert not found.violations, described(found.violations)
    assert found.detected is not None
    assert found.detected < HEARTBEAT.down_after + HEARTBEAT.interval + A_BUSY_MACHINE
    assert found.up is not None
    # The same instance, and the session resumed: what was lost on the way was sent again.
    assert set(found.outcomes) == {"replied"}
