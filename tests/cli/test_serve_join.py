"""``mpzmq serve --join``: real processes that dial the engine of a test, and every reason not to."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mpzmq import ComputerEngineWorker
from tests.support.commands import SECONDS, SERVER, called

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    Start = Callable[..., subprocess.Popen[str]]

SECRET = "correct-horse-battery-staple"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.py").write_text(SERVER)
    (tmp_path / "token").write_text(f"{SECRET}\n")
    return tmp_path


def line_with(process: subprocess.Popen[str], word: str) -> str:
    """The first line on stderr that has a word, with all before it."""
    assert process.stderr is not None
    lines = ""
    for line in process.stderr:
        lines += line
        if word in line:
            return lines
    raise AssertionError(f"it ended without {word!r}:\n{lines}")


@pytest.mark.long
async def test_it_joins_once_its_token_is_right_and_shows_that_nowhere(start: Start, folder: Path) -> None:
    token = folder / "token"
    token.write_text("wrong-horse")
    async with ComputerEngineWorker() as worker, worker.accept("tcp://127.0.0.1:0", tokens=SECRET) as group:
        options = ("--label", "gpu=1", "--name", "desk-1", "--log-level", "debug")
        joining = ("--join", group.endpoint, "--token-file", str(token))
        process = start("serve", "desk:server", "--app-dir", str(folder), *joining, *options)
        told = await asyncio.to_thread(line_with, process, "no HELLO")
        assert "the engine does not accept the token" in told
        assert [*group.members] == []
        token.write_text(SECRET)
        async with asyncio.timeout(SECONDS):
            told += await asyncio.to_thread(line_with, process, "joined the engine at")
            await group.wait_ready()
            assert await group.where(gpu="1").call("add", 1, 2) == 3
        assert [member.name for member in group.members] == ["desk-1"]
        shown = Path(f"/proc/{process.pid}/cmdline"), Path(f"/proc/{process.pid}/environ")
        words = [path.read_text("utf-8", "replace") for path in shown if path.exists()]
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.to_thread(process.communicate, timeout=SECONDS)
    assert (process.returncode, out) == (0, "")
    assert "horse" not in "".join((told, err, *words))


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["--join", "127.0.0.1:1"], 64, "--join needs --token-file FILE"),
        (["--token-file", "{folder}/token"], 64, "they need --join HOST:PORT"),
        (["--engine-key", "{folder}/token"], 64, "they need --join HOST:PORT"),
        (["--name", "desk-1"], 64, "they need --join HOST:PORT"),
        (["--label", "gpu=1"], 64, "it needs --announce or --join"),
        (["--join", "127.0.0.1:1", "--engine-key", "k"], 64, "need --keys FILE, this side's own"),
        (["--join", "127.0.0.1:1", "--token-file", "{folder}/token", "--keys", "k"], 64, "need --engine-key"),
        (["--join", "192.0.2.1:1", "--token-file", "{folder}/token"], 77, "pass --keys and --engine-key"),
        (["--join", "nowhere", "--token-file", "{folder}/token"], 64, "'nowhere' has no port"),
        (["--join", "127.0.0.1:1", "--token-file", "{folder}/none"], 78, "none: No such file or directory"),
        (["--join", "127.0.0.1:1", "--token-file", "{folder}/empty"], 78, "empty holds no token: it is empty"),
        (["--join", "127.0.0.1:1", "--token-file", "{folder}/many"], 78, "many holds no token: a token is one word"),
        (["--join", "127.0.0.1:1", "--token-file", "{folder}"], 78, "it is not a regular file, but a directory"),
        (["--join", "127.0.0.1:1", "--token-file", "{folder}/binary"], 78, "binary holds no token: it is no UTF-8"),
    ],
)
def test_what_cannot_join_says_why(folder: Path, args: list[str], code: int, text: str) -> None:
    (folder / "empty").write_text("\n")
    (folder / "many").write_text(f"runner-1 {SECRET}\n")
    (folder / "binary").write_bytes(b"\xff" + SECRET.encode())
    words = [arg.replace("{folder}", str(folder)) for arg in args]
    result = called("serve", "desk:server", "--app-dir", str(folder), "--loop", "asyncio", *words)
    assert (result.returncode, result.stdout) == (code, "")
    assert text in result.stderr
    assert SECRET not in result.stderr
