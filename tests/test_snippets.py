"""Every Python and console block of README.md and docs/ runs, and the pages say the same as the scripts.

A comment on the line before a block says how it is run:

    (no comment)                  by itself, as a program of its own
    <!-- test: server -->         as a process that listens; every client after it in the file has it running
    <!-- test: client -->         as a program, while the nearest server above it runs
    <!-- test: pytest -->         as a test module
    <!-- test: file NAME -->      not by itself: it is a file of that name beside all blocks after it in the page
    <!-- test: skip REASON -->    not at all; the reason is shown

A ```console block is a client of the nearest server above it, if there is one: each line that begins with "$ " is a
command of a shell, and the lines after it are what a terminal shows of it. As a server it is one such line.

Port 3010 is replaced by a free one. If the next block after a program (not a server) is ```text, that is what
the program has to print; `...` in it stands for anything. A program has 30 seconds, must end with 0 and must
leave no traceback on stderr. Warnings are errors.
"""

from __future__ import annotations

import contextlib
import doctest
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import free_port
from tests.support.pytests import LEAN
from tests.support.waiting import scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PORT = re.compile(r"\b3010\b")
# A traceback, but not that of a handler: what it raises, on purpose as a rule, is logged.
UNEXPECTED = re.compile(r"(?<! raised\n)Traceback")
COMMENT = re.compile(r"<!--\s*test:\s*(server|client|pytest|file|skip)\b\s*(.*?)\s*-->")
# argparse before Python 3.13: "-c COUNT, --count COUNT", and "-c, --count COUNT" since.
REPEATED = re.compile(r"(-\w) (\w+), (--\w+) \2")
SECONDS = scaled(30.0)
# A reader's pytest has no settings; pytest-asyncio wants to be told this one.
QUIET = [*LEAN, "-o", "asyncio_default_fixture_loop_scope=function", "-p", "no:cacheprovider"]


@dataclass
class Block:
    """One fenced block: its language, its text, and what the comment before it says."""

    page: str
    line: int
    language: str
    text: str
    role: str = ""
    reason: str = ""


@dataclass
class Run:
    """One test: programs that run one after the other, beside a server if there is one."""

    server: Block | None = None
    files: list[Block] = field(default_factory=list)
    programs: list[tuple[Block, str | None]] = field(default_factory=list)
    skip: str = ""

    @property
    def id(self) -> str:
        first = self.server or self.programs[0][0]
        return f"{first.page}:{first.line}"


def blocks(page: str, markdown: str) -> Iterator[Block]:
    """The fenced blocks of a page; indented ones (in lists) too."""
    comment: re.Match[str] | None = None
    lines = iter(enumerate(markdown.splitlines(), start=1))
    for number, line in lines:
        if fence := re.fullmatch(r"(\s*)(`{3,}|~{3,})\s*(\w*).*", line):
            indent, mark, language = fence.groups()
            text = []
            for _, inner in lines:
                if inner.strip().startswith(mark):
                    break
                text.append(inner.removeprefix(indent))
            else:
                raise ValueError(f"{page}:{number}: this block does not end")
            role, reason = comment.groups() if comment else ("", "")
            yield Block(page, number, language, "\n".join(text) + "\n", role, reason)
            comment = None
        elif line.strip():
            comment = COMMENT.fullmatch(line.strip())
            if comment is None and re.match(r"<!--\s*test\b", line.strip()):
                raise ValueError(f"{page}:{number}: a test comment that nobody understands: {line.strip()}")


def runs(page: str, markdown: str) -> list[Run]:
    """What to run of a page, in its order."""
    found: list[Run] = []
    files: list[Block] = []
    serving: Run | None = None
    every = list(blocks(page, markdown))
    for block, following in itertools.zip_longest(every, every[1:]):
        if block.role == "file":
            files.append(block)
            continue
        if block.language not in ("python", "py", "console"):
            if block.role:
                raise ValueError(f"{page}:{block.line}: a test comment before a block that is not python")
            continue
        if block.language == "console" and serving is not None and not block.role:
            serving.programs.append((block, None))
            continue
        expected = following.text if following and following.language == "text" else None
        match block.role:
            case "server":
                serving = Run(server=block, files=[*files])
                found.append(serving)
            case "client":
                if serving is None:
                    raise ValueError(f"{page}:{block.line}: a client, but no server above it")
                serving.programs.append((block, expected))
            case "skip":
                if not block.reason:
                    raise ValueError(f"{page}:{block.line}: skip needs a reason")
                found.append(Run(programs=[(block, None)], skip=block.reason))
            case _:
                found.append(Run(files=[*files], programs=[(block, expected)]))
    return found


def write(block: Block, folder: Path, port: int) -> list[str]:
    """The command that runs a block. Its line numbers are those of the page."""
    if block.language == "console":
        return ["bash", "-c", f"exec {PORT.sub(str(port), block.text.strip()).removeprefix('$ ')}"]
    if block.role == "pytest":
        module = folder / f"test_{block.line}.py"
        module.write_text(block.text, encoding="utf-8")
        plugin = [] if entry_points(group="pytest11", name="mpzmq") else ["-p", "mpzmq.testing.plugin"]
        return [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugin, *QUIET, str(module)]
    path = folder / f"{Path(block.page).stem}_{block.line}.py"
    path.write_text("\n" * block.line + PORT.sub(str(port), block.text), encoding="utf-8")
    return [sys.executable, "-W", "error", str(path)]


def environment(folder: Path) -> dict[str, str]:
    """That of a reader who has the checkout installed, with the blocks' files at hand."""
    paths = os.pathsep.join((str(folder), str(ROOT)))
    search = os.pathsep.join((str(folder / "bin"), os.environ["PATH"]))
    return os.environ | {"PYTHONPATH": paths, "PATH": search, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """The commands of a console block, each with what it shows."""
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command = f"{command}\n{more}"
        yield command, shown.strip()


def run_console(block: Block, folder: Path, port: int) -> None:
    for command, shown in commands_of(block):
        result = subprocess.run(
            ["bash", "-c", PORT.sub(str(port), command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SECONDS,
            cwd=folder,
            env=environment(folder),
            check=False,
        )
        told = f"{block.page}:{block.line}\n$ {command}\n{result.stdout}\n(exit code {result.returncode})"
        wanted = PORT.sub(str(port), shown)
        if shown or result.returncode:
            options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            seen = REPEATED.sub(r"\1, \3 \2", PORT.sub(str(port), result.stdout).strip())
            assert doctest.OutputChecker().check_output(wanted, seen, options), f"{told}\nthe page promises:\n{wanted}"


def run_program(block: Block, expected: str | None, folder: Path, port: int) -> None:
    if block.language == "console":
        run_console(block, folder, port)
        return
    result = subprocess.run(
        write(block, folder, port),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=folder,
        env=environment(folder),
        check=False,
    )
    told = f"{block.page}:{block.line}\nstdout:\n{result.stdout}\nstderr:\n{result.stderr}"
    assert result.returncode == 0, told
    assert UNEXPECTED.search(result.stderr) is None, told
    if expected is not None:
        wanted = PORT.sub(str(port), expected)
        assert doctest.OutputChecker().check_output(wanted, result.stdout, doctest.ELLIPSIS), (
            f"{told}\nthe page promises:\n{wanted}"
        )


@contextlib.contextmanager
def running_server(block: Block, folder: Path, port: int) -> Iterator[None]:
    """The server of a page, listening. It has to end by itself on SIGTERM."""
    errors = folder / "server.err"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            write(block, folder, port),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=folder,
            env=environment(folder),
        )
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            told = f"{block.page}:{block.line}\nstderr:\n{errors.read_text()}"
            assert process.poll() is None, f"the server has ended, {process.returncode}: {told}"
            assert time.monotonic() < deadline, f"the server does not listen: {told}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        yield
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=SECONDS)
        told = f"{block.page}:{block.line}\nstderr:\n{errors.read_text()}"
        assert code in (0, -signal.SIGTERM), f"the server has ended with {code}: {told}"
        assert UNEXPECTED.search(told) is None, told
    finally:
        process.kill()
        process.wait()


def prepare(run: Run, folder: Path, port: int) -> None:
    """The files of the blocks above, and a command `mpzmq` that is this checkout's."""
    for block in run.files:
        (folder / block.reason).write_text(PORT.sub(str(port), block.text), encoding="utf-8")
    command = folder / "bin" / "mpzmq"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mpzmq "$@"\n')
    command.chmod(0o755)


def execute(run: Run, folder: Path) -> None:
    if run.skip:
        pytest.skip(run.skip)
    port = free_port()
    prepare(run, folder, port)
    with running_server(run.server, folder, port) if run.server else contextlib.nullcontext():
        for block, expected in run.programs:
            run_program(block, expected, folder, port)


def all_runs() -> list[Run]:
    pages = [page for page in PAGES if page.is_file()]
    return [run for page in pages for run in runs(str(page.relative_to(ROOT)), page.read_text("utf-8"))]


@pytest.mark.parametrize("run", all_runs(), ids=lambda run: run.id)
def test_snippet(run: Run, tmp_path: Path) -> None:
    execute(run, tmp_path)


# The README, .ci/run and the name


def commands(text: str) -> list[str]:
    """The lines of a page or script that start a fresh virtual environment."""
    return [line for line in text.splitlines() if line.startswith("python3 -m venv .venv && ")]


def test_readme_has_a_server_and_a_client() -> None:
    readme = runs("README.md", (ROOT / "README.md").read_text("utf-8"))
    assert any(run.server and run.programs for run in readme)


def test_readme_and_ci_give_the_same_two_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    in_sh_blocks = [
        line for block in blocks("README.md", readme) if block.language == "sh" for line in commands(block.text)
    ]
    assert in_sh_blocks == commands((ROOT / ".ci" / "run").read_text("utf-8"))
    assert len(in_sh_blocks) == 2


# On PyPI the name without "-engine" belongs to somebody else.
WRONG_NAME = re.compile(r"pip3? +install [^\n&;|`]*?(?<![\w./=-])mpzmq(?![\w-])")
NOT_OURS = {
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "__pycache__",
    "build",
    "dist",
}


def our_files(folder: Path) -> Iterator[Path]:
    """What can be tracked, found without git: a copy of the sources need not be a checkout."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and path.name not in NOT_OURS and not (path / "pyvenv.cfg").exists():
            yield from our_files(path)


def wrong_installs(text: str) -> list[str]:
    return [match.group() for match in WRONG_NAME.finditer(text)]


def test_nobody_is_told_to_install_a_stranger() -> None:
    faults = [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in our_files(ROOT)
        for fault in wrong_installs(path.read_text("utf-8", errors="replace"))
    ]
    assert not faults


# The rules above, tried on pages made up for it

INSTALL = "pip " + "install "  # in two parts, or this file would be a finding


@pytest.mark.parametrize("name", ["mpzmq", "'mpzmq[cli]'", "-U mpzmq", "uvloop mpzmq", "mpzmq==0.1.0", "mpzmq && x"])
def test_a_wrong_install_is_found(name: str) -> None:
    assert wrong_installs(f"Run `{INSTALL}{name}`.")


@pytest.mark.parametrize(
    "name",
    ["mpzmq-engine", "'mpzmq-engine[cli]'", ". && .venv/bin/mpzmq demo", ".`, then `mpzmq demo", "./mpzmq"],
)
def test_a_right_install_is_not(name: str) -> None:
    assert not wrong_installs(f"Run `{INSTALL}{name}`.")


PAGE = """
```python
print("alone", 3010)
```
It prints:
```text
alone 3010
```
<!-- test: server -->
```python
import signal, socket, sys
listener = socket.create_server(("127.0.0.1", 3010))
signal.signal(signal.SIGTERM, lambda *_: (listener.close(), sys.exit()))
while True:
    connection, _ = listener.accept()
    connection.sendall(b"hello")
    connection.close()
```
1. A list:
   <!-- test: client -->
   ```python
   import socket
   with socket.create_connection(("127.0.0.1", 3010)) as connection:
       print(connection.recv(5), id(connection))
   ```

   ```text
   b'hello' ...
   ```

<!-- test: skip needs a printer -->
```python
paper
```
```sh
not python
```
"""


def test_a_page_is_understood_and_run(tmp_path: Path) -> None:
    alone, together, skipped = runs("page.md", PAGE)
    assert [run.id for run in (alone, together, skipped)] == ["page.md:2", "page.md:10", "page.md:32"]
    execute(alone, tmp_path)
    execute(together, tmp_path)
    assert len(together.programs) == 1
    with pytest.raises(pytest.skip.Exception, match="needs a printer"):
        execute(skipped, tmp_path)


MORE = """
<!-- test: file words.py -->
```python
WORD = "3010 words"
```
```console
$ echo one; \\
  echo two
one
two
$ python3 -c 'import words; print(words.WORD)'; false
... words
$ mpzmq --version
mpzmq ...
```
<!-- test: pytest -->
```python
import words

def test_words():
    assert words.WORD.endswith("words")
```
"""


def test_files_consoles_and_tests(tmp_path: Path) -> None:
    for number, run in enumerate(runs("page.md", MORE)):
        (tmp_path / str(number)).mkdir()
        execute(run, tmp_path / str(number))


def test_a_console_that_shows_something_else_is_a_failure(tmp_path: Path) -> None:
    (run,) = runs("page.md", "```console\n$ echo one\ntwo\n```")
    with pytest.raises(AssertionError, match="the page promises"):
        execute(run, tmp_path)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\n1 / 0\n```", "ZeroDivisionError"),
        ("```python\nprint(1)\n```\n```text\n2\n```", r"the page promises:\s+2"),
        ("```python\nopen(__file__)\n```", "ResourceWarning"),
        ("<!-- test: server -->\n```python\n```", "the server has ended, 0"),
    ],
)
def test_a_block_that_fails_is_a_failure(page: str, message: str, tmp_path: Path) -> None:
    (run,) = runs("page.md", page)
    with pytest.raises(AssertionError, match=message):
        execute(run, tmp_path)


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```python\n", "does not end"),
        ("<!-- test: client -->\n```python\n```", "no server above it"),
        ("<!-- test: skip -->\n```python\n```", "needs a reason"),
        ("<!-- test: sevrer -->\n```python\n```", "nobody understands"),
        ("<!-- test: server -->\n```sh\n```", "not python"),
    ],
)
def test_a_page_with_a_mistake_is_refused(page: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        runs("page.md", page)
