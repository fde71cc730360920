"""The collector: reads the statistics of servers and workers when Prometheus asks, and keeps nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from ..common.set_module import set_module
from ..common.text import type_name
from ..common.timings import DEFAULT_BUCKETS
from ..container.server import ContainerServer
from ..engine.worker import ComputerEngineWorker
from .client_metrics import client_metrics
from .server_metrics import server_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.metrics_core import Metric

__all__ = ["collector"]


@set_module("mpzmq.prometheus")
def collector(
    *targets: ContainerServer | ComputerEngineWorker,
    histograms: bool = False,
    buckets: Sequence[float] = DEFAULT_BUCKETS,
) -> Collector:
    """What a registry of ``prometheus_client`` takes: the metrics of these servers and workers.

    Any thread may ask it. It reads the counters when it is asked, and keeps none. The names are
    ``mpzmq_server_...`` with the label ``function``, and ``mpzmq_client_...`` with the label ``container``, or
    ``group`` for what is in a group. Several targets are added up, function by function and container by container.

    Args:
        targets: whose metrics they are.
        histograms: whether all durations are counted from now on, by upper bounds, and not only added up.
        buckets: those bounds, in seconds.

    Returns:
        What a registry registers, as in ``prometheus_client.REGISTRY.register(mpzmq.prometheus.collector(server))``. It
        takes one collector of servers and one of workers: several of them are targets of one collector.

    Raises:
        TypeError: a target is neither a server nor a worker.
        ValueError: the buckets do not rise, or histograms with others are kept already; or those of two servers, or of
            two workers, have different ones, and cannot be added up.
    """
    for target in targets:
        if not isinstance(target, ContainerServer | ComputerEngineWorker):
            raise TypeError(
                f"metrics are those of a ContainerServer or a ComputerEngineWorker, not {type_name(target)}"
            )
    if histograms:
        for target in targets:
            target.keep_durations(buckets)
    for kind in (ContainerServer, ComputerEngineWorker):
        kept = {target: target.buckets for target in targets if isinstance(target, kind) and target.buckets is not None}
        if len(set(kept.values())) > 1:
            (one, bounds), *others = kept.items()
            other, different = next(pair for pair in others if pair[1] != bounds)
            raise ValueError(
                f"the histograms of {one!r} have the buckets {bounds}, those of {other!r} have {different}, and cannot"
                " be added up: pass the same ones to keep_durations(), or make a collector and a registry for each"
            )
    return _Collector(targets)


class _Collector(Collector):
    """Of some targets."""

    def __init__(self, targets: Sequence[ContainerServer | ComputerEngineWorker]) -> None:
        once = dict.fromkeys(targets)
        self._servers = [target for target in once if isinstance(target, ContainerServer)]
        self._workers = [target for target in once if isinstance(target, ComputerEngineWorker)]

    def describe(self) -> tuple[Metric, ...]:
        """By these the registry knows a second collector of the same names, whose samples would collide."""
        return tuple(self.collect())

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        if self._servers:
            yield from server_metrics([server.statistics() for server in self._servers])
        if self._workers:
            yield from client_metrics(self._workers)
