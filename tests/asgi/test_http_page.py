"""The commands of docs/how-to/http.md print what the page shows, beside a gateway and a container."""

from __future__ import annotations

import asyncio
import doctest
import importlib.util
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from mpzmq.asgi import gateway
from mpzmq.testing import connected
from tests.asgi.served import listening
from tests.support.waiting import soon
from tests.test_snippets import ROOT, blocks, commands_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_the_page(tmp_path: Path) -> None:
    page = "docs/how-to/http.md"
    found = list(blocks(page, (ROOT / page).read_text("utf-8")))
    path = tmp_path / "calculator.py"
    path.write_text(next(block.text for block in found if block.reason == "calculator.py"))
    spec = importlib.util.spec_from_file_location("calculator", path)
    assert spec is not None and spec.loader is not None
    calculator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(calculator)
    commands = [pair for block in found if block.language == "console" for pair in commands_of(block)]
    assert len(commands) == 6

    async with connected(calculator.server) as container:
        app = gateway(container, allow=["add", "pay", "count", "total"])
        async with listening(app) as address:
            for command, shown in commands:
                command = command.replace("127.0.0.1:8080", address)
                pipes: Any = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
                process = await asyncio.create_subprocess_exec("bash", "-c", command, **pipes)
                said, _ = await soon(process.communicate(), 30)
                options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
                assert doctest.OutputChecker().check_output(shown, said.decode().strip(), options), said
