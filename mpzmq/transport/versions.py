"""What the transport runs on."""

from __future__ import annotations

import zmq

__all__ = ["zmq_versions"]


def zmq_versions() -> dict[str, str]:
    """The versions of pyzmq and libzmq."""
    return {"pyzmq": zmq.__version__, "libzmq": zmq.zmq_version()}
