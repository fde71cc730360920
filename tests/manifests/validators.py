"""Programs that say whether a file is what somebody else takes. None of them asks the network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import scaled

__all__ = ["validate"]

# Those of the extra manifests stand beside Python.
PLACES = {
    "check-jsonschema": "the extra manifests",
    "kubernetes-validate": "the extra manifests",
    "shellcheck": "Debian: shellcheck",
    "systemd-analyze": "Debian: systemd",
}


def validate(program: str, *args: str | Path) -> None:
    """Runs one; the test is skipped where it is not installed, and fails where it objects."""
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.exists() else shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed ({PLACES[program]})")
    # A proxy that is not there: who would ask the network fails.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [found, *map(str, args)],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **nowhere},
        timeout=scaled(50),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
