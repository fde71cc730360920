"""What the transport runs on."""

from __future__ import annotations

import zmq

__all__ = ["zmq_versions"]


def zmq_versions() -> dict[str, str]:
    """The versions of pyzmq and libzmq, and whether libzmq was built with CURVE: yes or no."""
    curve = "yes" if zmq.has("curve") else "no"
    return {"pyzmq": zmq.__version__, "libzmq": zmq.zmq_version(), "curve": curve}
