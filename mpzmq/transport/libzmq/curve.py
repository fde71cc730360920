"""CURVE: keys made and shown, and set on sockets before they bind or connect."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import zmq
from zmq.utils.z85 import decode, encode

from ...common.set_module import set_module

if TYPE_CHECKING:
    from ..interface import Curve

__all__ = ["as_client", "as_server", "fingerprint", "new_keys", "public_of"]


def new_keys() -> tuple[str, str]:
    """A new public and secret key, in Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def public_of(secret: str) -> str:
    """The public key of a secret one."""
    return zmq.curve_public(secret.encode()).decode()


@set_module("mpzmq.keys")
def z85(data: bytes) -> str:
    """32 bytes as text.

    Args:
        data: the bytes.

    Returns:
        40 characters.
    """
    return encode(data).decode()


@set_module("mpzmq.keys")
def fingerprint(public: str) -> str:
    """A public key, short enough to be compared by eye: the beginning of its SHA-256, as ssh shows it.

    Args:
        public: the key, as 40 characters of Z85.

    Returns:
        ``SHA256:`` and 20 characters of Base64.
    """
    digest = hashlib.sha256(decode(public)).digest()
    return "SHA256:" + base64.b64encode(digest[:15]).decode()


def as_server(socket: zmq.Socket[bytes], curve: Curve, domain: bytes) -> None:
    """Makes a socket that accepts nobody whom the authenticator of its context does not admit."""
    socket.curve_secretkey = curve.secret.encode()
    socket.curve_server = True
    # Without both of them libzmq lets everybody in as soon as nobody answers for the domain.
    socket.zap_domain = domain
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)


def as_client(socket: zmq.Socket[bytes], curve: Curve, server_key: str) -> None:
    """Makes a socket that talks to the holder of ``server_key`` and nobody else."""
    socket.curve_publickey = curve.public.encode()
    socket.curve_secretkey = curve.secret.encode()
    socket.curve_serverkey = server_key.encode()
