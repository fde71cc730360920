"""The closed loop: all peers in turn, round by round, so that whatever disturbs the machine disturbs them alike."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .peers import load
from .peers.base import Count
from .processes import PeerFailed, Server, run_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .scenarios import Scenario

__all__ = ["Row", "compare_row"]

OURS = "mpzmq"


@dataclass(slots=True)
class Row:
    """What all rounds of one scenario on one event loop saw.

    Attributes:
        counts: for each peer one count a round, up to the first that failed.
        failures: what went wrong, in words.
    """

    scenario: str
    loop: str
    counts: dict[str, list[Count]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def rates(self, peer: str) -> list[float]:
        """Requests per second of each round."""
        return [count.rate for count in self.counts.get(peer, ())]

    def ratios(self, peer: str) -> list[float]:
        """mpzmq's rate by the peer's in the same round."""
        return [ours / theirs for ours, theirs in zip(self.rates(OURS), self.rates(peer), strict=False)]

    def ratio(self, peer: str) -> float | None:
        """The median of the ratios."""
        ratios = self.ratios(peer)
        return statistics.median(ratios) if ratios else None


def compare_row(
    scenario: Scenario, loop: str, peers: Iterable[str], rounds: int, seconds: float, say: Callable[[str], None]
) -> Row:
    """Measures one row; a peer that fails is said so and left out, the others go on."""
    row = Row(scenario.name, loop)
    servers: dict[str, Server] = {}
    try:
        for name in peers:
            peer = load(name)
            if not peer.supports(scenario) or (loop not in peer.loops and peer.loops != ("none",)):
                continue
            try:
                servers[name] = Server(name, scenario, loop)
            except PeerFailed as error:
                row.failures.append(str(error))
                say(str(error))
        for round_ in range(rounds):
            names = list(servers)
            turn = round_ % max(1, len(names))
            for name in names[turn:] + names[:turn]:
                command = ["measure", name, scenario.name, "--loop", loop, "--seconds", str(seconds)]
                try:
                    count = Count(**run_client(servers[name], command, seconds, f"{name} in {scenario.name}"))
                except PeerFailed as error:
                    row.failures.append(str(error))
                    say(str(error))
                    servers.pop(name).close()
                    continue
                row.counts.setdefault(name, []).append(count)
    finally:
        for server in servers.values():
            server.close()
    return row
