"""Every vector of docs/protocol.md, against the code in both directions.

A vector is a fenced block with the word `vector`:

    name NAME
    from engine|container
    record TAG JSON         one line for each record, TAG in hex
    frame HEX [HEX*COUNT]   one line for each frame; `ab*3` stands for `ababab`

JSON has no bytes, UUIDs or arrays: they are objects with one key that starts with `$`, see `decoded`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import numpy
import pytest

from mpzmq.config import Limits
from mpzmq.models import LinkState, Status
from mpzmq.protocol import wire
from mpzmq.protocol.flow.outbox import Outbox, QueuedRecord
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.messages import MessageDecoder
from tests.support import ROOT
from tests.support.protocol import same

PAGE = ROOT / "docs" / "protocol.md"
BLOCK = re.compile(r"^```vector\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Vector:
    """One block of the page."""

    name: str = ""
    sender: str = ""
    records: list[tuple[bytes, list[Any]]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)


def hex_bytes(text: str) -> bytes:
    content = b""
    for part in text.split():
        digits, _, count = part.partition("*")
        content += bytes.fromhex(digits) * int(count or 1)
    return content


def decoded(value: dict[str, Any]) -> Any:
    """Objects that stand for what JSON has not."""
    match value:
        case {"$uuid": text}:
            return UUID(text)
        case {"$datetime": text}:
            return datetime.fromisoformat(text)
        case {"$bytes": text}:
            return hex_bytes(text)
        case {"$view": text, "format": format_, "shape": shape}:
            assert text or (format_, shape) == ("B", [0]), "memoryview.cast() knows no other empty view"
            content = memoryview(hex_bytes(text))
            return content.cast(format_, shape) if content.nbytes else content
        case {"$array": text, "dtype": dtype, "shape": shape}:
            return numpy.frombuffer(hex_bytes(text), dtype).reshape(shape)
    return value


def parsed(block: str) -> Vector:
    vector = Vector()
    for line in block.splitlines():
        word, _, rest = line.partition(" ")
        match word:
            case "name":
                vector.name = rest
            case "from":
                assert rest in ("engine", "container")
                vector.sender = rest
            case "record":
                tag, _, record = rest.partition(" ")
                vector.records.append((bytes.fromhex(tag), json.loads(record, object_hook=decoded)))
            case "frame":
                vector.frames.append(hex_bytes(rest))
            case _:
                raise ValueError(f"nobody understands {line!r}")
    return vector


def vectors() -> list[Vector]:
    return [parsed(block) for block in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]


def shared_frames_of(records: list[tuple[bytes, list[Any]]]) -> list[bytes]:
    """One message with the buffers of several records, which the library reads, and sends as several messages."""
    encoder = Encoder(Limits())
    buffers: list[Any] = []
    bodies = [encoder.pack([encoder.prepare(value, "value", buffers) for value in record]) for _, record in records]
    return [b"".join(tag for tag, _ in records), b"".join(bodies), *map(bytes, buffers)]


def frames_of(records: list[tuple[bytes, list[Any]]]) -> list[bytes]:
    """The one message that carries these records, as the library builds it."""
    encoder = Encoder(Limits())
    outbox = Outbox(Limits().batch_records)
    for tag, record in records:
        if record[0] in (Kind.REQUEST, Kind.RESPONSE, Kind.ERROR, Kind.CHUNK, Kind.PART):
            buffers: list[Any] = []
            body = encoder.pack([encoder.prepare(value, "value", buffers) for value in record])
            outbox.put(QueuedRecord(tag, body, buffers))
        else:
            outbox.put_control(encoder.pack(record), tag)
    outgoing = outbox.next_message(0.0)
    assert outgoing is not None and not outbox, "these records do not fit into one message"
    assert outgoing.size == sum(map(len, outgoing.frames))
    return [bytes(frame) for frame in outgoing.frames]


VECTORS = vectors()
BY_NAME = {vector.name: vector for vector in VECTORS}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_encoding_gives_exactly_these_frames(vector: Vector) -> None:
    build = shared_frames_of if len(vector.records) > 1 < len(vector.frames) - 1 else frames_of
    assert [frame.hex() for frame in build(vector.records)] == [frame.hex() for frame in vector.frames]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_the_reader_reads_exactly_these_records(vector: Vector) -> None:
    reader = MessageDecoder(Limits(), Kind.REQUEST if vector.sender == "engine" else Kind.RESPONSE)
    message = reader.decode(vector.frames)
    assert same(message.records, vector.records)
    assert (message.malformed, message.ignored) == ([], 0)
    assert message.size == sum(map(len, vector.frames))


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(VECTORS) >= 14


def test_every_kind_operation_and_extension_has_a_vector() -> None:
    records = [record for vector in VECTORS for _, record in vector.records]
    kinds = {number for name, number in vars(Kind).items() if name.isupper()}
    assert {record[0] for record in records} == kinds
    operations = {number for name, number in vars(Op).items() if name.isupper()}
    assert {record[4] for record in records if record[0] == Kind.REQUEST} == operations
    assert max(len(vector.records) for vector in VECTORS) >= 3
    assert max(len(vector.frames) for vector in VECTORS) >= 3


def test_hello_and_welcome_are_those_of_the_code() -> None:
    greeting = BY_NAME["HELLO"].records[0][1]
    limits = Limits()
    assert greeting == wire.hello(greeting[2], 1, "engine-1", 2.0, limits)
    answer = BY_NAME["WELCOME"].records[0][1]
    assert answer == wire.welcome(answer[2], 1, False, Status.RUNNING, "worker-7", 2.0, limits)


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    """Every constant stands in a table row as `| number | NAME |`."""
    page = PAGE.read_text(encoding="utf-8")
    for constants in (Kind, Op, Code, Goodbye):
        for name, number in vars(constants).items():
            if name.isupper():
                assert re.search(rf"^\| {number} +\| {name} +\|", page, re.MULTILINE), f"{constants.__name__}.{name}"


def levels() -> list[str]:
    """The text of each level in section 17."""
    section = PAGE.read_text(encoding="utf-8").split("\n## 17. Levels\n")[1].split("\n## ")[0]
    return section.split("\n### Level ")[1:]


def test_each_rule_has_a_number_of_its_own_and_says_what_happens_to_who_breaks_it() -> None:
    rules = [re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^$)", level, re.MULTILINE | re.DOTALL) for level in levels()]
    numbers = [int(number) for level in rules for number, _ in level]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [text.count("*Broken:*") for level in rules for _, text in level] == [1] * len(numbers)
    assert (len(rules), len(rules[0])) == (4, 15)


def test_the_vectors_of_each_level_are_there_and_belong_to_one() -> None:
    named: list[str] = []
    for level in levels():
        (paragraph,) = re.findall(r"^Vectors: (.*?)\.$", level, re.MULTILINE | re.DOTALL)
        names = re.findall(r"`([^`]+)`", paragraph.replace("\n", " "))
        assert names
        named += names
    assert len(named) == len(set(named))
    assert set(named) <= BY_NAME.keys()
    kinds = {record[0] for name in named for _, record in BY_NAME[name].records}
    assert kinds | {Kind.JOIN} == {number for name, number in vars(Kind).items() if name.isupper()}  # of no level


def test_the_picture_speaks_of_this_wire_and_of_these_states() -> None:
    picture = ElementTree.parse(PAGE.with_name("connection.svg"))
    words: dict[str, set[str]] = {}
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        words.setdefault(text.attrib["class"], set()).update(re.findall(r"[A-Z]{3,}", text.text or ""))
    numbers = {name for constants in (Kind, Goodbye) for name in vars(constants) if name.isupper()}
    assert {"HELLO", "WELCOME", "REQUEST", "PING", "PONG", "GOODBYE"} <= words["says"] <= numbers
    assert {"ALIVE", "DOWN", "DRAINING"} <= words["state"] <= {state.name for state in LinkState}


@pytest.mark.parametrize(
    "line",
    ["nonsense 1", "from somewhere", "frame zz", "record 00 {"],
)
def test_a_vector_that_is_wrong_is_no_vector(line: str) -> None:
    with pytest.raises((ValueError, AssertionError)):
        parsed(line)
