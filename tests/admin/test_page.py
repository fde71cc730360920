"""The page, in a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.admin.client import get
from tests.support.chromium import CHROMIUM, Page, opened
from tests.support.waiting import scaled, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.scene import Scene

in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (Debian: chromium)")


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[tuple[Any, str, str]]:
    """A process with a server and a worker, and the URLs of both."""
    pipes: Any = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.admin.watched", "--serve", **pipes)
    try:
        assert process.stdout is not None
        server, worker = (await soon(process.stdout.readline())).decode().split()
        yield process, server, worker
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def call(process: Any, times: int) -> None:
    process.stdin.write(f"{times}\n".encode())


def cell(table: str, row: str, column: str) -> str:
    """A JavaScript expression for what stands in a table."""
    head = f"[...document.querySelectorAll('#{table} th')].findIndex((th) => th.textContent === '{column}')"
    line = f"[...document.querySelectorAll('#{table} tbody tr')].find((tr) => tr.cells[0].textContent === `{row}`)"
    return f"({line})?.cells[{head}]?.textContent"


async def no_wider_than_it_is(page: Page) -> bool:
    return bool(await page.ask("document.documentElement.scrollWidth <= innerWidth"))


async def test_a_browser_may_run_its_own_script_and_nothing_else(scene: Scene) -> None:
    answer = await get(await scene.server.bind_admin("127.0.0.1:0"), "/")
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert len(answer.body) < 100_000
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert policy["script-src"].startswith("'sha256-") and policy["style-src"].startswith("'sha256-")
    assert "innerHTML" not in answer.text and "://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


@in_chromium
@pytest.mark.timeout(scaled(120))
async def test_it_shows_a_server_a_worker_and_their_end(tmp_path: Path) -> None:
    async with watched() as (process, server, worker), opened(tmp_path) as page:
        await page.show(server, width=360, height=640)
        await page.until("document.getElementById('name').textContent === 'calculator'")
        await page.until("document.getElementById('state').textContent === 'ready'")
        await page.until("document.querySelector('#functions td').textContent")
        name = await page.ask("document.querySelector('#functions td').textContent")
        assert name.startswith("<img")  # as text
        assert await no_wider_than_it_is(page)

        call(process, 30)
        await page.until(f"{cell('functions', 'price', 'replied')} === '30'")
        call(process, 12)
        await page.until(f"{cell('functions', 'price', 'replied')} === '42'")
        await page.until("document.querySelector('path.one').getAttribute('d').includes('L')")
        assert page.received[server] < 100_000

        await page.show(worker, width=360, height=640, dark=True)
        await page.until(f"{cell('containers', 'away', 'state')} !== undefined")
        await page.until(f"{cell('containers', name, 'state')} === 'ALIVE'")
        assert await page.ask(cell("containers", name, "replied")) == "43"
        assert await page.ask(cell("groups", "prices", "alive")) == "1"
        assert await no_wider_than_it_is(page)
        assert await page.ask("document.title") != "hit"
        assert page.trouble == []

        assert await page.ask("document.getElementById('gone').hidden")
        process.kill()
        await page.until("document.getElementById('gone').textContent.startsWith('No answer since ')")
        assert await page.ask("document.getElementById('gone').hidden") is False
