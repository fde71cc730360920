"""A container's allow-list, as it stands now: read again when its files change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..common.logs import Log
from .allow_list import Allow, Users, named_in, read_users, stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from .allow_list import User

__all__ = ["AllowListWatcher"]

log = Log(__name__)


class AllowListWatcher:
    """Knows the users of one container.

    The authenticator's thread asks it who gets in, and has it look at the files; the container asks it who a message is
    from. Between them passes one dict that is replaced, and never changed.

    Args:
        allow: the list, or where it stands.
        on_change: called, from the authenticator's thread, after the users have changed.

    Raises:
        OSError, ValueError, TypeError: it cannot be read.
    """

    def __init__(self, allow: Allow, on_change: Callable[[], None]) -> None:
        self._allow = allow
        self._on_change = on_change
        self._stamp = stamp(allow)
        self._trouble = ""
        self.users: Users = read_users(allow)

    def user(self, key: str | None) -> User | None:
        """Who has a key; None: nobody who is let in."""
        return None if key is None else self.users.get(key)

    def is_allowed(self, key: str) -> bool:
        """Whether the holder of a public key may connect."""
        return key in self.users

    def reload(self) -> None:
        """Reads the list again if its files have changed.

        One that cannot be read changes nothing: a slip in an editor must neither lock all engines out nor let anybody
        in whom the last good list did not name. But who has no file in a folder any more is out at once.
        """
        try:
            now = stamp(self._allow)
            if now == self._stamp:
                self._trouble = ""
                return
            users = read_users(self._allow)
        except (OSError, ValueError, TypeError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.error("the allow-list cannot be read, and nobody is added: %s", error)
            self._keep_only(named_in(self._allow))
            return
        self._stamp, self._trouble = now, ""
        self._replace(users)

    def _keep_only(self, names: set[str] | None) -> None:
        if names is not None and any(user.name not in names for user in self.users.values()):
            self._replace({key: user for key, user in self.users.items() if user.name in names})

    def _replace(self, users: Users) -> None:
        added, removed = users.keys() - self.users.keys(), self.users.keys() - users.keys()
        log.info(
            "the allow-list was read again: %d keys more, %d less, %d in all", len(added), len(removed), len(users)
        )
        self.users = users
        self._on_change()
