"""``mpzmq manifest``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import manifests
from .outcome import CommandFailed, finish
from .output import FAILED, OK, USAGE, say

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["manifest"]


def manifest(kind: str, server: str, output: str | None, given: Mapping[str, Any]) -> int:
    """Prints a file with which somebody else starts containers, or writes it; returns the exit code.

    Args:
        kind: who: ``kubernetes``, ``compose``, ``systemd`` or ``slurm``.
        server: ``MODULE:SERVER``.
        output: the folder that it is written into; None: it is printed.
        given: the options of the command; what is None has a default.
    """

    def work() -> int:
        try:
            file, text = _made(kind, server, given)
        except ValueError as error:
            raise CommandFailed(str(error), USAGE) from None
        if output is None:
            say(text.removesuffix("\n"))
            return OK
        path = Path(output, file)
        try:
            with path.open("x", encoding="utf-8") as target, contextlib.ExitStack() as undoing:
                undoing.callback(path.unlink)  # half a file would be in the way of the next one
                target.write(text)
                target.flush()
                undoing.pop_all()
        except FileExistsError:  # it may have been changed by hand
            raise CommandFailed(f"{path} is there already, and may have been changed: move it away", FAILED) from None
        except OSError as error:
            raise CommandFailed(f"cannot write {path}: {error.strerror}", FAILED) from None
        say(str(path))
        return OK

    return finish("mpzmq manifest", work)


def _made(kind: str, server: str, given: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the file, and what it holds.

    Raises:
        ValueError: something that was given would not work there.
    """
    numbers = {name: given[name] for name in ("port", "admin_port", "cpus") if given[name] is not None}
    workload = manifests.Workload(
        server=server,
        name=_name_of(server) if given["name"] is None else given["name"],
        replicas=given["replicas"] or (1 if kind == "systemd" else 3),
        drain_timeout=given["drain_timeout"],
        memory=given["memory"],
        **numbers,
    )
    keys = given["keys"]
    match kind:
        case "kubernetes":
            text = manifests.kubernetes(workload, given["image"], keys=keys, stateful=given["stateful"])
            return f"{workload.name}.yaml", text
        case "compose":
            return "compose.yaml", manifests.compose(workload, given["image"], keys=keys)
        case "systemd":
            return manifests.unit_name(workload), manifests.systemd(workload, given["app_dir"], keys=keys)
        case _:
            text = manifests.slurm(workload, given["app_dir"], announce=given["announce"], keys=keys)
            return f"{workload.name}.sbatch", text


def _name_of(server: str) -> str:
    """What a module is called, as a name of DNS: ``shop.price_list:server`` is ``price-list``."""
    return server.partition(":")[0].rpartition(".")[2].replace("_", "-").strip("-").lower()
