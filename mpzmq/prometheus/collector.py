"""The collector: reads the statistics of servers and workers when Prometheus asks, and keeps nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..common.set_module import set_module
from ..common.text import type_name
from ..common.timings import DEFAULT_BUCKETS, checked_buckets
from ..container.server import ContainerServer
from ..engine.worker import ComputerEngineWorker
from .client_metrics import client_metrics
from .families import Families
from .server_metrics import server_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Target = ContainerServer | ComputerEngineWorker

__all__ = ["collector"]


@set_module("mpzmq.prometheus")
def collector(*targets: Target, histograms: bool = False, buckets: Sequence[float] = DEFAULT_BUCKETS) -> Any:
    """What a registry of ``prometheus_client`` takes: the metrics of these servers and workers.

    It may be asked from any thread, and costs what it is asked; what it tells is of that moment. The names are
    ``mpzmq_server_...`` with the label ``function``, and ``mpzmq_client_...`` with the label ``container``, or
    ``group`` for what is in a group. Several targets are added up, function by function and container by container.

    Args:
        targets: whose metrics they are.
        histograms: whether all durations are counted from now on, by upper bounds, and not only added up.
        buckets: those bounds, in seconds.

    Returns:
        A collector: ``prometheus_client.REGISTRY.register(mpzmq.prometheus.collector(server))``.

    Raises:
        ImportError: the extra ``metrics`` is missing.
        TypeError: a target is neither a server nor a worker.
        ValueError: the buckets do not rise, or histograms with others are kept already.
    """
    for target in targets:
        if not isinstance(target, ContainerServer | ComputerEngineWorker):
            raise TypeError(
                f"metrics are those of a ContainerServer or a ComputerEngineWorker, not {type_name(target)}"
            )
    families = Families()
    if histograms:
        bounds = checked_buckets(buckets)
        for target in targets:
            target.keep_durations(bounds)
    return _Collector(targets, families)


class _Collector:
    """Of some targets; prometheus_client asks no more of it than this."""

    def __init__(self, targets: tuple[Target, ...], families: Families) -> None:
        once = dict.fromkeys(targets)
        self._servers = [target for target in once if isinstance(target, ContainerServer)]
        self._workers = [target for target in once if isinstance(target, ComputerEngineWorker)]
        self._families = families

    def describe(self) -> Iterable[Any]:
        """Nothing: whether something else has these names is not looked at."""
        return ()

    def collect(self) -> Iterable[Any]:
        """The metrics as they are now."""
        if self._servers:
            yield from server_metrics(self._families, [server.statistics() for server in self._servers])
        if self._workers:
            yield from client_metrics(self._families, self._workers)
