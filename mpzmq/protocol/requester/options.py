"""How one request is to be treated."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from ...common.durations import checked_after, checked_timeout
from ...common.set_module import set_module
from .request import remaining_ms

if TYPE_CHECKING:
    from ...models import Progress

__all__ = ["UNSET", "Options", "Unset"]


@set_module("mpzmq")
class Unset(enum.Enum):
    """The type of an option that was left out: the service's default holds, or the handle's.

    None is a value of some options, so that it cannot say that.
    """

    UNSET = "unset"
    """Its only member, the default of such options."""


UNSET: Final = Unset.UNSET
_U = Literal[Unset.UNSET]
_NOTHING = (UNSET,) * 6


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a request, as values or as a service's defaults.

    Attributes:
        timeout: seconds until ``RequestTimeout``; None: no deadline of its own.
        wait: whether it may wait, within the timeout, for a link that cannot take it now.
        idempotent: whether it may run twice, and so be sent again to a container that was restarted.
        metadata: sent along; the handler finds it in its context.
        progress: called with how far the request and its reply have come, if they travel in parts.
        lost_after: seconds of DOWN after which it ends, once it has left; None: at its deadline; UNSET: as the link's
            policy says.
        ends_idempotent: whether ``lost_after`` ends it though it is idempotent.
        milliseconds: the timeout as it goes over the wire.
        effective_lost_after: the ``lost_after`` that holds: None for what is idempotent, unless it names one.
    """

    timeout: float | None = 30.0
    wait: bool = True
    idempotent: bool = False
    metadata: Mapping[str, Any] | None = None
    progress: Callable[[Progress], object] | None = None
    lost_after: float | _U | None = UNSET
    ends_idempotent: bool = False
    milliseconds: int | None = field(init=False, default=None)
    effective_lost_after: float | _U | None = field(init=False, default=None)
    _of_one_try: Options | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if checked_timeout(self.timeout) is not None:
            assert self.timeout is not None
            object.__setattr__(self, "milliseconds", remaining_ms(self.timeout, 0.0))
        if not (isinstance(self.wait, bool) and isinstance(self.idempotent, bool)):
            raise TypeError(f"wait and idempotent are bools, not {self.wait!r:.100} and {self.idempotent!r:.100}")
        if self.lost_after is not UNSET:
            checked_after(self.lost_after, "lost_after")
        if self.ends_idempotent or not self.idempotent:
            object.__setattr__(self, "effective_lost_after", self.lost_after)
        if self.progress is not None and not callable(self.progress):
            raise TypeError(f"progress is called with a Progress; {type(self.progress).__name__} cannot be called")
        if self.metadata is None:
            return
        if not isinstance(self.metadata, Mapping) or not all(isinstance(key, str) for key in self.metadata):
            raise TypeError("metadata is a mapping with str keys")

    def but(
        self,
        timeout: float | _U | None,
        wait: bool | _U,
        idempotent: bool | _U = UNSET,
        metadata: Mapping[str, Any] | _U | None = UNSET,
        progress: Callable[[Progress], object] | _U | None = UNSET,
        lost_after: float | _U | None = UNSET,
    ) -> Options:
        """These options with some replaced."""
        if (timeout, wait, idempotent, metadata, progress, lost_after) == _NOTHING:
            return self
        return Options(
            self.timeout if timeout is UNSET else timeout,
            self.wait if wait is UNSET else wait,
            self.idempotent if idempotent is UNSET else idempotent,
            self.metadata if metadata is UNSET else metadata,
            self.progress if progress is UNSET else progress,
            self.lost_after if lost_after is UNSET else lost_after,
            # A request that names it itself means it.
            self.ends_idempotent or lost_after is not UNSET,
        )

    def of_one_try(self) -> Options:
        """These options for one of several containers: no try waits for that one alone, not even an idempotent one."""
        if self._of_one_try is None:
            found = dataclasses.replace(self, wait=False, ends_idempotent=True)
            object.__setattr__(self, "_of_one_try", found)
            return found
        return self._of_one_try

    def repeatable(self) -> Options:
        """These options for what does no harm when it is done twice, and for which nobody has asked to wait."""
        return dataclasses.replace(self, idempotent=True, ends_idempotent=True)
