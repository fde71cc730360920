"""mpzmq and what it is compared with, each in a module of its own, imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Peer

__all__ = ["PEERS", "load"]

PEERS = {
    "mpzmq": "mpzmq_peer",
    "mpzmq-pure": "mpzmq_pure",
    "mpzmq-curve": "mpzmq_curve",
    "mpzmq-group": "mpzmq_group",
    "plain-pyzmq": "plain_pyzmq",
    "fd-reader": "fd_reader",
    "zmq-asyncio": "zmq_asyncio",
    "tcp": "tcp",
    "grpc": "grpc_aio",
    "nats": "nats_peer",
    "callosum": "callosum_peer",
    "zerorpc": "zerorpc_peer",
    "pyro5": "pyro5_peer",
}
"""The names on the command line, and the modules."""


def load(name: str) -> Peer:
    """The peer of a name."""
    peer: Peer = importlib.import_module(f".{PEERS[name]}", __name__).PEER
    return peer
