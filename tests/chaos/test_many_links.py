"""The run with many links does what it says, with few of them."""

from __future__ import annotations

from tests.support.waiting import soon

from .many_links import Plan, links_report, many_links


async def test_all_links_come_back_when_all_containers_were_killed() -> None:
    plan = Plan(processes=2, servers=3, seconds=0.1, callers=2, pause=0.005)
    found = await soon(many_links(plan), 60.0)
    assert found.descriptors >= plan.links, "each link has a socket"
    assert found.calls.seconds and not found.calls.errors
    assert found.restarted >= found.served > 0.0
    assert all(error.startswith("ConnectionLost, executed ") for error in found.during.errors)
    assert not any(error.endswith(", idempotent") for error in found.during.errors)
    assert links_report(plan, found).startswith("6 links in one group, to 2 processes with 3 containers each\n")
