"""How one request is to be treated."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, final

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
_NOTHING: Final = (UNSET,) * 6


@final
class Options:
    """The options of a request, as values or as a service's defaults. They do not change.

    Args:
        timeout: seconds until ``RequestTimeout``; None: no deadline of its own.
        wait: whether it may wait, within the timeout, for a link that cannot take it now.
        idempotent: whether it may run twice, and so be sent again to a container that was restarted.
        metadata: sent along; the handler finds it in its context.
        progress: called with how far the request and its reply have come, if they travel in parts.
        lost_after: seconds of DOWN after which it ends, once it has left; None: at its deadline; UNSET: as the link's
            policy says.
        ends_idempotent: whether ``lost_after`` ends it though it is idempotent.

    Attributes:
        milliseconds: the timeout as it goes over the wire.
        effective_lost_after: the ``lost_after`` that holds: None for what is idempotent, unless it names one.

    Raises:
        TypeError: one is of the wrong type.
        ValueError: one is out of its range.
    """

    __slots__ = (
        "_of_one_try",
        "effective_lost_after",
        "ends_idempotent",
        "idempotent",
        "lost_after",
        "metadata",
        "milliseconds",
        "progress",
        "timeout",
        "wait",
    )

    def __init__(
        self,
        timeout: float | None = 30.0,
        wait: bool = True,
        idempotent: bool = False,
        metadata: Mapping[str, Any] | None = None,
        progress: Callable[[Progress], object] | None = None,
        lost_after: float | _U | None = UNSET,
        ends_idempotent: bool = False,
    ) -> None:
        timeout = checked_timeout(timeout)
        if not (isinstance(wait, bool) and isinstance(idempotent, bool)):
            raise TypeError(f"wait and idempotent are bools, not {wait!r:.100} and {idempotent!r:.100}")
        if lost_after is not UNSET:
            checked_after(lost_after, "lost_after")
        if progress is not None and not callable(progress):
            raise TypeError(f"progress is called with a Progress; {type(progress).__name__} cannot be called")
        if metadata is not None and not (
            isinstance(metadata, Mapping) and all(isinstance(key, str) for key in metadata)
        ):
            raise TypeError("metadata is a mapping with str keys")
        self.timeout = timeout
        self.wait = wait
        self.idempotent = idempotent
        self.metadata = metadata
        self.progress = progress
        self.lost_after = lost_after
        self.ends_idempotent = ends_idempotent
        self.milliseconds = None if timeout is None else remaining_ms(timeout, 0.0)
        self.effective_lost_after = lost_after if ends_idempotent or not idempotent else None
        self._of_one_try: Options | None = None

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
        found = self._of_one_try
        if found is None:
            found = self._of_one_try = self._ending(wait=False, idempotent=self.idempotent)
        return found

    def repeatable(self) -> Options:
        """These options for what does no harm when it is done twice, and for which nobody has asked to wait."""
        return self._ending(wait=self.wait, idempotent=True)

    def _ending(self, *, wait: bool, idempotent: bool) -> Options:
        """These options, and ``lost_after`` ends what is idempotent, too."""
        return Options(self.timeout, wait, idempotent, self.metadata, self.progress, self.lost_after, True)
