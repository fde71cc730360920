"""A headless Chromium, driven over its DevTools protocol through a pipe: it needs no package and opens no port."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.support.waiting import SECONDS, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

__all__ = ["CHROMIUM", "Page", "opened"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Chromium reads from descriptor 3 and writes to 4. Both ends are moved out of the way first.
_LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
for end, wanted in zip(ends, (3, 4)):
    os.dup2(end, wanted)
    os.close(end)
os.execv(sys.argv[3], sys.argv[3:])
"""
_OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-extensions", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    "--remote-debugging-pipe",
]


class Page:
    """One page in it.

    Attributes:
        trouble: what went to its console as an error or a warning, and exceptions that nobody caught.
        received: bytes of each reply, by URL.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: Any) -> None:
        self.trouble: list[str] = []
        self.received: dict[str, int] = {}
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._urls: dict[str, str] = {}
        self._session = ""
        self._listening = asyncio.create_task(self._listen())

    async def open(self) -> None:
        """Makes the page."""
        target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.send(f"{domain}.enable")

    async def send(self, method: str, **parameters: Any) -> Any:
        """One command; returns its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps(message).encode() + b"\0")
        return await soon(self._waiting[number], 3 * SECONDS)

    async def show(self, url: str, *, width: int = 1100, height: int = 800, dark: bool = False) -> None:
        """Loads a URL."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        await self.send("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=features)
        await self.send("Page.navigate", url=url)

    async def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Waits until that is true; while the page is being loaded, what it asks for may not be there."""
        patient = f"(() => {{ try {{ return {expression} }} catch {{ return false }} }})()"
        async with asyncio.timeout(3 * SECONDS):
            while not await self.ask(patient):  # noqa: ASYNC110  (a page tells nobody)
                await asyncio.sleep(0.05)

    async def picture(self) -> bytes:
        """What it shows, as PNG."""
        return base64.b64decode((await self.send("Page.captureScreenshot"))["data"])

    async def close(self) -> None:
        self._listening.cancel()
        await asyncio.wait((self._listening,))

    async def _listen(self) -> None:
        while True:
            message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if (waiting := self._waiting.pop(message.get("id", 0), None)) is not None:
                if "error" in message:
                    waiting.set_exception(RuntimeError(str(message["error"])))
                elif not waiting.done():
                    waiting.set_result(message["result"])
            else:
                self._on_event(message["method"], message["params"])

    def _on_event(self, method: str, facts: Any) -> None:
        match method:
            case "Log.entryAdded" if facts["entry"]["level"] in ("error", "warning"):
                self.trouble.append(facts["entry"]["text"])
            case "Runtime.consoleAPICalled" if facts["type"] in ("error", "warning", "assert"):
                self.trouble.append(str(facts["args"]))
            case "Runtime.exceptionThrown":
                self.trouble.append(str(facts["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self._urls[facts["requestId"]] = facts["request"]["url"]
            case "Network.loadingFinished":
                url = self._urls.get(facts["requestId"], "")
                self.received[url] = int(facts["encodedDataLength"])


@contextlib.asynccontextmanager
async def opened(profile: Path) -> AsyncIterator[Page]:
    """A browser with one page; it has ended afterwards.

    Args:
        profile: a folder of its own.
    """
    assert CHROMIUM is not None
    loop = asyncio.get_running_loop()
    (commands, to_browser), (from_browser, answers) = os.pipe(), os.pipe()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LAUNCH, str(commands), str(answers),
        CHROMIUM, *_OPTIONS, f"--user-data-dir={profile}",
        pass_fds=(commands, answers), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL, start_new_session=True, env={**os.environ, "HOME": str(profile)},
    )  # fmt: skip
    os.close(commands)
    os.close(answers)
    reader = asyncio.StreamReader(limit=1 << 26)
    make = partial(asyncio.StreamReaderProtocol, reader)
    reading, _ = await loop.connect_read_pipe(make, os.fdopen(from_browser, "rb", 0))
    writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(to_browser, "wb", 0))
    page = Page(reader, writing)
    try:
        await page.open()
        yield page
    finally:
        await page.close()
        writing.close()  # which ends it
        reading.close()
        try:
            await soon(process.wait())
        except TimeoutError:
            process.kill()
            await process.wait()
