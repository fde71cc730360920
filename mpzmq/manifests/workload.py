"""What is to be started, checked so that it means the same in every file that it is written into."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

from ..container.lifespan import END_TIMEOUT

__all__ = ["MADE_BY", "USER", "Workload", "check_folder", "check_image", "check_secret_name", "quoted"]

MADE_BY = "# Made by 'mpzmq manifest'. It is yours now: read it, and change what does not fit."
"""The first line of every file."""

USER = 10001
"""Whom an image runs as: a user and a group that no host has."""

EXIT_SECONDS = 5
"""For what is left when the lifespan has ended: threads, the interpreter."""

_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,50}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# What a reference of an OCI image may look like: a registry, a path, and a tag or a digest or both.
_DOMAIN = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_DOMAIN}(?:\.{_DOMAIN})*(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
# Characters that have no meaning in YAML, in a shell, and in unit files, which expand % and $, and end words at blanks.
_FOLDER = re.compile(r"[\w./@+=,-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Containers that are all the same.

    Attributes:
        server: ``MODULE:SERVER``.
        name: of the service, the unit or the job.
        replicas: how many containers.
        port: where each serves.
        admin_port: where it answers over HTTP how it is.
        drain_timeout: seconds for what runs when it is told to stop.
        cpus: that it is given.
        memory: that it may use, in MiB.

    Raises:
        ValueError: one of them would not work, or not mean what it says; the text tells which, and what would.
    """

    server: str
    name: str
    replicas: int = 3
    port: int = 3010
    admin_port: int = 9100
    drain_timeout: float = 8.0
    cpus: int = 1
    memory: int = 512

    def __post_init__(self) -> None:
        module, _, attribute = self.server.partition(":")
        if not all(word.isidentifier() for word in (*module.split("."), *attribute.split("."))):
            raise ValueError(f"{self.server!r} names no server: write MODULE:SERVER, as in 'container:server'")
        if not _LABEL.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not a name of DNS: lower-case letters, digits and hyphens, a letter first, no hyphen"
                " last, at most 52 (the names of pods have a suffix)"
            )
        for port in (self.port, self.admin_port):
            if not 1024 <= port <= 65535:
                raise ValueError(f"{port} is not a port from 1024 to 65535: those below take a privilege")
        if self.port == self.admin_port:
            raise ValueError(f"port and admin port are both {self.port}: two listeners need two")
        for what, number in (("replicas", self.replicas), ("cpus", self.cpus), ("memory", self.memory)):
            if number < 1:
                raise ValueError(f"{what} is at least 1, not {number}")
        if not 0 <= self.drain_timeout <= 86_400:
            raise ValueError(f"a drain takes from 0 to 86400 seconds, not {self.drain_timeout:g}")

    @property
    def stop_seconds(self) -> int:
        """How long it may take from SIGTERM to the exit: the drain, the end of the lifespan, and the exit itself."""
        return math.ceil(self.drain_timeout) + math.ceil(END_TIMEOUT) + EXIT_SECONDS

    @property
    def stop_reason(self) -> str:
        """The same in words."""
        return (
            f"the drain ({self.drain_timeout:g} s), the end of the lifespan ({END_TIMEOUT:g} s at most), and the exit"
        )


def quoted(text: str) -> str:
    """A text as YAML, whose double quotes are those of JSON: also one that would mean a number, or no."""
    return json.dumps(text, ensure_ascii=False)


def check_image(text: str) -> str:
    """Whether a text names an image.

    Raises:
        ValueError: it does not.
    """
    if not _IMAGE.fullmatch(text):
        raise ValueError(f"{text!r} is not an image: write it as in registry.example/team/calculator:1.2")
    return text


def check_secret_name(text: str) -> str:
    """Whether a Secret can have that name.

    Raises:
        ValueError: it cannot.
    """
    if not _SUBDOMAIN.fullmatch(text):
        raise ValueError(f"{text!r} is not the name of a Secret: lower-case letters, digits, hyphens and dots")
    return text


def check_folder(text: str, *, absolute: bool = False) -> str:
    """Whether a path means the same in a unit file, a shell and YAML.

    Raises:
        ValueError: it does not, or is not absolute where it has to be.
    """
    if not _FOLDER.fullmatch(text):
        raise ValueError(f"{text!r} cannot be written down here: a path of letters, digits and ./_@+=,- can")
    if absolute and ".." in text.split("/"):
        raise ValueError(f"{text!r} has a part '..': a unit needs a path without one")
    if absolute and not text.startswith("/"):
        raise ValueError(f"{text!r} is a path of where you are now: a unit needs one that begins with /")
    return text.rstrip("/") or "/"
