"""The benchmark of the gateway runs, and says what it has measured. How fast anything is, no test asserts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from bench import gateway
from tests.support.waiting import scaled


def test_it_runs() -> None:
    command = [sys.executable, "-m", "bench.gateway", "--rounds", "1", "--seconds", "0.1", "--connections", "2"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=scaled(50.0), check=False
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^  (mpzmq alone|HTTP gateway|bare uvicorn) +([\d,]+) +([\d,]+)", done.stdout, re.M)
    assert [name for name, *_ in rows] == ["mpzmq alone", "HTTP gateway", "bare uvicorn"]
    assert all(float(number.replace(",", "")) > 0 for _, *numbers in rows for number in numbers)
    assert f"(target {gateway.TARGET:,})" in done.stdout
