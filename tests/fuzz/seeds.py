"""The corpus of each door: the vectors of the protocol, some inputs that lead further, and every finding.

``python -m tests.fuzz.seeds`` writes what can be made. Findings are added by hand, under a name that tells what they
are.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from mpzmq.protocol import wire
from mpzmq.protocol.rust.framing import framed
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.records import LINK_TAG
from tests.hostile.mutate import CONTAINER, ENGINE, valid

from .doors import DOORS
from .lobby_door import TOKEN
from .wire_door import LIMITS, known_tags, packed_input

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FOLDER", "made", "saved"]

FOLDER = Path(__file__).parent / "corpus"


def made(door: str) -> dict[str, bytes]:
    """Name to input."""
    return _MAKERS[door]()


def _rust(methods: list[str]) -> dict[str, bytes]:
    ids = [str(UUID(bytes=tag)) for tag in known_tags()]
    bodies = [
        json.dumps({"id": own_id, "method": methods[number % len(methods)], "status": status, "data": data}).encode()
        for number, own_id in enumerate(ids)
        for status, data in (("RUNNING", {"a": [1, 2.5, None]}), ("STOP", "\u00fc"))
    ]
    found = {f"frame-{number}": b"\xff" + framed(body) for number, body in enumerate(bodies[:4])}
    found["all"] = b"\x05" + b"".join(map(framed, bodies))
    found["twice"] = b"\xff" + framed(bodies[0]) * 40
    found["no-uuid"] = b"\xff" + framed(b'{"id":"x"}')
    found["no-method"] = b"\xff" + framed(bodies[0].replace(b"Invoke", b"Stop")) + framed(bodies[1])
    found["large"] = b"\xff" + framed(
        json.dumps({"id": ids[0], "method": "Invoke", "status": "RUNNING", "data": "x" * 3000}).encode()
    )
    found["no-frame"] = b"\xffHTTP/1.1 400 Bad Request\r\n\r\n"
    return found


def _lobby() -> dict[str, bytes]:
    encoder = Encoder(LIMITS)

    def join(number: int, instance: int, token: str = TOKEN, name: str = "one", **labels: str) -> list[bytes]:
        return [LINK_TAG, encoder.pack(wire.join(UUID(int=instance), number, token, name, labels, LIMITS))]

    talks = {
        "one": [join(1, 1)],
        "again": [join(1, 1), join(2, 1), join(2, 1)],
        "wrong": [join(1, 1, "guess")],
        "same-name": [join(1, 1), join(1, 2), join(1, 3, name="")],
        "labels": [join(1, 1, zone="a", gpu="b")],
        "many": [join(1, number, name=f"n{number}") for number in range(1, 8)],
    }
    found = {name: packed_input(0, messages) for name, messages in talks.items()}
    found["file"] = (
        b"\x01# who, what, until when\nada secretsecretsecretsecret 2027-01-31T12:00:00Z\nbob other\n\neverybody\n"
    )
    found["bad-file"] = b"\x01ada smith secretsecretsecretsecret more\nada secretsecretsecretsecret tomorrow\n"
    return found


def _gateway() -> dict[str, bytes]:
    as_json, lines = "content-type: application/json\n", "content-type: application/x-ndjson\n"
    asked = {
        "add": ("POST /call/add", as_json, "[1, 2]"),
        "echo": ("POST /call/echo", as_json, '{"a": {"$b64": "aGk="}, "b": [{"$map": [[1, 2]]}]}'),
        "fail": ("POST /call/fail", as_json, '["no_stock", {"$uuid": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}]'),
        "few": ("POST /call/few", as_json + "accept: text/event-stream\n", "[]"),
        "fails-late": ("POST /call/few", as_json + "accept: application/x-ndjson\n", "[true]"),
        "total": ("POST /call/total", lines, "[]\n1\n2\n\n{}"),
        "talk": ("POST /call/talk", lines + "accept: application/x-ndjson\n", "{}\n1\n2"),
        "timeout": ("POST /call/add", as_json + "mpzmq-timeout: 2.5\n", "[1]"),
        "key": ("POST /call/add", as_json + "idempotency-key: 6ba7b810-9dad-41d1-80b4-00c04fd430c8\n", "[1]"),
        "openapi": ("GET /openapi.json", "", ""),
        "health": ("HEAD /healthz", "", ""),
        "form": ("POST /call/add", "origin: null\n", "a=1"),
    }
    return {name: f"\x40{first}\n{headers}\n{body}".encode() for name, (first, headers, body) in asked.items()}


def _admin() -> dict[str, bytes]:
    asked = {
        "get": "GET /status.json?x=1 HTTP/1.1\r\nHost: 127.0.0.1:9100\r\nAccept: */*\r\n\r\n",
        "head": "HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "old": "GET /livez HTTP/1.0\r\n\r\n",
        "body": "POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 3\r\n\r\nabc",
        "two": "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "pipelined": "GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3,
        "tls": "\x16\x03\x01\x02\x00",
    }
    return {name: b"\x10" + text.encode("latin-1") for name, text in asked.items()}


def _json() -> dict[str, bytes]:
    texts = [
        '{"a": 1, "b": 2.5, "args": ["x"], "c": {"$b64": "aGk="}}',
        '{"items": [1, 2], "a": 3}',
        '{"items_": [1], "items": [2]}',
        '[{"$uuid": "6ba7b810-9dad-41d1-80b4-00c04fd430c8"}, {"$time": "2026-01-31T12:00Z"}, {"$float": "nan"}]',
        '{"$map": [[1, 2], [{"$b64": ""}, {"$map": []}]]}',
        '{"a": {"$b64": "aGk="}, "$b64": "x"}',
    ]
    return {f"text-{number}": bytes((number,)) + text.encode() for number, text in enumerate(texts)}


def _wire() -> dict[str, bytes]:
    from tests.protocol.wire.test_vectors import BLOCK, PAGE, parsed  # not for a fuzzer, which may have no pytest

    found: dict[str, bytes] = {}
    for block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        vector = parsed(block)
        if sum(map(len, vector.frames)) < 2000:
            side = int(vector.sender == "container")
            found[f"vector-{vector.name}"] = packed_input(side, [vector.frames])
    dice = random.Random(20261125)
    for number in range(20):
        for side, liar in enumerate((ENGINE, CONTAINER)):
            messages = []
            for _ in range(dice.randrange(2, 6)):
                draft = valid(dice, liar)
                draft.buffers = [buffer[:200] for buffer in draft.buffers]
                # Streams go on under the tags of their requests: a container learns them here, an engine knows them.
                draft.tags = [one if one == LINK_TAG else dice.choice([*known_tags(), one]) for one in draft.tags]
                messages.append(draft.frames())
            data = packed_input(side, messages)
            if len(data) < 4000:
                found[f"talk-{liar}-{number}"] = data
    return found


_MAKERS: dict[str, Callable[[], dict[str, bytes]]] = {
    "wire": _wire,
    "rust-client": lambda: _rust(["Invoke", "Getstate", "Setstate"]),
    "rust-container": lambda: _rust(["Invoke"]),
    "lobby": _lobby,
    "gateway": _gateway,
    "admin": _admin,
    "json": _json,
}


def saved(door: str) -> list[Path]:
    """The files of its corpus."""
    return sorted((FOLDER / door).glob("*.bin"))


def write() -> None:
    """Writes what can be made."""
    for door in DOORS:
        (FOLDER / door).mkdir(parents=True, exist_ok=True)
        for name, data in made(door).items():
            word = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
            (FOLDER / door / f"{word}.bin").write_bytes(data)


def keep(data: bytes, folder: Path) -> Path:
    """Writes a finding."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"finding-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    write()
    sys.stdout.write(f"{sum(len(saved(door)) for door in DOORS)} files in {FOLDER}\n")
