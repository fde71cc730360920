"""The compiled build: where MPZMQ_COMPILE=1 asks for it, mypyc makes C extensions of the hot modules.

hatchling runs this for every wheel. Unasked it does nothing, and needs nothing: neither mypy nor a compiler.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ASKED = os.environ.get("MPZMQ_COMPILE") == "1"

REQUIREMENTS = ["mypy==2.4.1", "setuptools>=77"]
"""mypyc comes with mypy: the version that the tests were run with."""

HOT = [
    "common/timings.py",
    "protocol/**/*.py",
    "transport/libzmq/socket.py",
    "runtime/clock.py",
    "runtime/item_streams.py",
    "runtime/request_log.py",
    "runtime/waiters.py",
    "runtime/wire_log.py",
    "runtime/write_coalescer.py",
    "handlers/*.py",
    "engine/arguments.py",
    "engine/callbacks.py",
    "engine/link_driver.py",
    "engine/progress_callbacks.py",
    "engine/request_sender.py",
    "container/session_driver.py",
]
"""What a request passes through, below mpzmq/."""

INTERPRETED = {
    "handlers/coroutines.py",
    "handlers/dependencies.py",
    "handlers/error_mapping.py",
    "handlers/interfaces.py",
    "handlers/middleware.py",
    "handlers/pipeline.py",
    "handlers/registration.py",
    "handlers/request_chain.py",
    "handlers/signatures.py",
    "handlers/stream_invocation.py",
    "handlers/tasks.py",
    "handlers/threads.py",
    "protocol/effects.py",
    "protocol/group/candidate.py",
    "protocol/group/chosen_ids.py",
    "protocol/group/ejection.py",
    "protocol/group/picking.py",
    "protocol/group/pool.py",
    "protocol/group/rendezvous.py",
    "protocol/group/retry_budget.py",
    "protocol/group/tries.py",
    "protocol/health/diagnostics.py",
    "protocol/lobby/lobby.py",
    "protocol/lobby/tokens.py",
    "protocol/requester/options.py",
    "protocol/session/presence.py",
}
"""What stays Python beside it: what is public, coroutines that run those of the application, what runs seldom, and
groups, whose members are derived from candidates."""

# Strictness is the matter of pyproject.toml. What is installed is not looked at: the same C comes out everywhere.
MYPY = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", f"--cache-dir={os.devnull}"]


class CompiledBuild(BuildHookInterface):
    """Puts the extensions into the wheel, beside the sources that they were made of."""

    def dependencies(self) -> list[str]:
        """What the build needs beside hatchling."""
        return REQUIREMENTS if ASKED else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, except for an editable installation: what is edited there has to be what runs."""
        if not ASKED or version == "editable":
            return
        missing = missing_tool()
        if missing:
            self.app.display_warning(f"MPZMQ_COMPILE=1: {missing}, so this wheel is pure Python")
            return
        folder = Path(self.directory, "compiled")
        shutil.rmtree(folder, ignore_errors=True)
        for extension in compile_modules(Path(self.root), folder):
            build_data["force_include"][str(extension)] = str(extension.relative_to(folder))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def missing_tool() -> str | None:
    """What mypyc needs and is not here, in words."""
    if sys.implementation.name != "cpython":
        return "mypyc is for CPython"
    command = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(shlex.split(command)[0]) is None:
        return f"there is no compiler ({command})"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "there are no headers of Python (python3-dev)"
    return None


def hot_modules(root: Path) -> list[str]:
    """The files to compile, below the folder of the project."""
    found = [path for place in HOT for path in Path(root, "mpzmq").glob(place)]
    names = sorted(path.relative_to(root).as_posix() for path in found if path.name != "__init__.py")
    return [name for name in names if name.removeprefix("mpzmq/") not in INTERPRETED]


def compile_modules(root: Path, folder: Path) -> list[Path]:
    """Compiles the hot modules into a folder; returns the extensions, where they stand in a wheel."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    class BuildOnAllProcessors(build_ext):
        """Compiles the files of one extension side by side, which setuptools does with extensions alone."""

        def build_extensions(self) -> None:
            compile_in_turn = self.compiler.compile
            with ThreadPoolExecutor(os.cpu_count()) as threads:

                def compile_side_by_side(sources: list[str], **options: Any) -> list[str]:
                    return list(chain(*threads.map(lambda source: compile_in_turn([source], **options), sources)))

                self.compiler.compile = compile_side_by_side
                super().build_extensions()

    # From here: tracebacks name the files as they are named now, and are to begin with mpzmq/.
    with contextlib.chdir(root), tempfile.TemporaryDirectory(prefix="mpzmq-") as scratch:
        extensions = mypycify(
            [*MYPY, *hot_modules(root)],
            group_name="mpzmq",
            target_dir=scratch,
            debug_level="0",
            multi_file=True,
        )
        command = BuildOnAllProcessors(Distribution({"ext_modules": extensions}))
        command.build_lib, command.build_temp, command.parallel = str(folder), scratch, os.cpu_count()
        command.ensure_finalized()
        command.run()
    return sorted(path for path in folder.rglob("*") if path.is_file())
