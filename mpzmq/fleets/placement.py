"""Which workers of a cluster have a container: chosen, and chosen anew as workers come and go."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["RETRY_AFTER", "Placement", "Stage"]

RETRY_AFTER = 15.0
"""Seconds until a container is started again where it could not serve, or has ended by itself."""


class Stage(Enum):
    """What a worker does for the fleet."""

    FREE = "free"
    STARTING = "starting"
    SERVING = "serving"
    ENDING = "ending"
    FAILED = "failed"


@dataclass(slots=True)
class _Place:
    """One worker.

    Attributes:
        stage: what it does for the fleet.
        served: what its container has said of itself.
        why: it could not serve; empty: it can, as far as is known.
        failed_at: when that was.
    """

    stage: Stage = Stage.FREE
    served: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    failed_at: float = 0.0


class Placement:
    """Which workers have a container, and which are to get or to lose one.

    Nothing of it waits or knows the time: what happened goes in, and :meth:`decide` says what is to be done.

    Args:
        wanted: how many containers there are to be; None: one in each worker.
        version: the first one.
    """

    def __init__(self, wanted: int | None, *, version: int = 0) -> None:
        self.wanted = wanted
        self.version = version
        """Rises with each change of what :meth:`told` says."""
        self._places: dict[str, _Place] = {}

    def want(self, wanted: int | None) -> None:
        """So many containers there are to be from now on."""
        self.wanted = wanted
        self.version += 1

    # What happened

    def on_worker(self, worker: str) -> None:
        """A worker has come."""
        self._places.setdefault(worker, _Place())
        self.version += 1

    def on_loss(self, worker: str) -> None:
        """A worker has gone, and its container with it."""
        self._places.pop(worker, None)
        self.version += 1

    def on_serving(self, worker: str, served: dict[str, Any]) -> None:
        """The container of a worker serves.

        Args:
            worker: which.
            served: what it says of itself.
        """
        self._turn(worker, (Stage.STARTING,), Stage.SERVING, served=served)

    def on_failure(self, worker: str, why: str, now: float) -> None:
        """The container of a worker cannot serve, or has ended by itself.

        Args:
            worker: which.
            why: in words.
            now: the time.
        """
        self._turn(worker, (Stage.STARTING, Stage.SERVING), Stage.FAILED, why=why, failed_at=now)

    def on_end(self, worker: str) -> None:
        """The container of a worker was ended, as was decided."""
        self._turn(worker, (Stage.ENDING,), Stage.FREE)

    def _turn(self, worker: str, before: tuple[Stage, ...], stage: Stage, **facts: Any) -> None:
        place = self._places.get(worker)
        if place is not None and place.stage in before:
            self._places[worker] = _Place(stage, **facts)
            self.version += 1

    # What follows

    def decide(self, now: float) -> tuple[list[str], list[str]]:
        """What is to be done; it counts as begun.

        Args:
            now: the time.

        Returns:
            The workers that are to start a container, and those that are to end theirs.
        """
        busy = self._at(Stage.STARTING, Stage.SERVING)
        # Where nothing has failed goes first: whoever could not serve yet is tried when there is nobody else.
        due = [worker for worker in self._at(Stage.FAILED) if now >= self._places[worker].failed_at + RETRY_AFTER]
        ready = self._at(Stage.FREE) + due
        wanted = len(busy) + len(ready) if self.wanted is None else self.wanted
        start = ready[: max(0, wanted - len(busy))]
        # Those that do not serve yet are missed least, and of the others those that came last.
        spare = sorted(busy, key=lambda worker: self._places[worker].stage is Stage.STARTING)
        end = spare[wanted:]
        for worker in start:
            self._places[worker] = _Place(Stage.STARTING, why=self._places[worker].why)
        for worker in end:
            self._places[worker] = _Place(Stage.ENDING)
        if start or end:
            self.version += 1
        return start, end

    def next_retry(self) -> float | None:
        """When :meth:`decide` is to be asked again though nothing has happened; None: not at all."""
        return min((self._places[worker].failed_at + RETRY_AFTER for worker in self._at(Stage.FAILED)), default=None)

    def is_carrying(self, worker: str) -> bool:
        """Whether a worker has a container, or is about to."""
        return worker in self._at(Stage.STARTING, Stage.SERVING)

    def told(self) -> dict[str, Any]:
        """All of it, as values that can be sent."""
        return {
            "version": self.version,
            "wanted": self.wanted,
            "workers": len(self._places),
            "starting": self._at(Stage.STARTING),
            "ending": self._at(Stage.ENDING),
            "serving": [self._places[worker].served for worker in self._at(Stage.SERVING)],
            "failures": {worker: place.why for worker, place in self._places.items() if place.why},
        }

    def _at(self, *stages: Stage) -> list[str]:
        return [worker for worker, place in self._places.items() if place.stage in stages]
