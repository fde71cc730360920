"""How many redials have failed since the last WELCOME, held against the policy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...config import ReconnectPolicy

__all__ = ["RedialCounter"]


class RedialCounter:
    """Counts the redials of one link and says when the policy is used up.

    The first dial of a link is not a redial; neither is a dial that reached a process which is busy.
    """

    def __init__(self, policy: ReconnectPolicy) -> None:
        self.policy = policy
        """How the link dials again."""
        self._dialled = self._was_greeted = False
        self._prompt_again_at = -math.inf
        self.failed = 0
        """Redials that failed since the last loss (or since the first dial)."""
        self.total = 0
        """Redials that failed over the life of the link."""
        self.reconnects = 0
        """Times that the container was found again."""

    @property
    def exhausted(self) -> bool:
        """Whether the link has to give up now, its last dial having failed or its connection being lost."""
        policy = self.policy
        if not policy.enabled:
            return True
        return policy.max_attempts is not None and self.failed >= policy.max_attempts

    def on_dial_failed(self) -> None:
        """One dial has failed."""
        if self._dialled:
            self.failed += 1
            self.total += 1
        self._dialled = True
        self._was_greeted = False

    def on_welcome(self, *, reconnected: bool = False) -> None:
        """The container has said WELCOME: only this resets the count.

        Args:
            reconnected: whether it had done so on an earlier connection.
        """
        self.reconnects += reconnected
        self._dialled = self._was_greeted = True
        self.failed = 0

    def on_redial(self, now: float) -> bool:
        """A dial is about to be scheduled behind a connection that has ended.

        Returns:
            Whether it may leave promptly: the connection had been greeted. At most once an interval, or a container
            that greets and dies at once would be dialled without a pause.
        """
        is_prompt = self._was_greeted and now >= self._prompt_again_at
        if is_prompt:
            self._prompt_again_at = now + self.policy.interval
        return is_prompt
