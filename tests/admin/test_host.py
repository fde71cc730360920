"""What can be watched."""

from __future__ import annotations

import pytest

from mpzmq.admin.host import AdminHost


def test_a_host_that_tells_nothing_of_itself_is_none() -> None:
    class Silent(AdminHost):
        """Says nothing of what its endpoints are to tell."""

    with pytest.raises(TypeError, match="_subject"):
        Silent()  # type: ignore[abstract]
