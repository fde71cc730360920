"""Where figures come from: a figure without its machine and versions says nothing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import msgpack
import zmq

import mpzmq
from mpzmq.cli.build import build_name

__all__ = ["machine"]

_PACKAGES = ("uvloop", "grpcio", "nats-py", "callosum", "zerorpc", "Pyro5")


def machine() -> dict[str, str]:
    """The machine and the versions."""
    found = {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "mpzmq": f"{mpzmq.__version__} ({build_name()})",
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "msgpack": ".".join(map(str, msgpack.version)),
    }
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
