"""Messages to records: the decode door returns, whatever the bytes are."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgpack
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpzmq.config import Limits
from mpzmq.models import Executed, Status
from mpzmq.protocol import wire
from mpzmq.protocol.wire.encoder import Encoder
from mpzmq.protocol.wire.kinds import Code, Goodbye, Kind, Op
from mpzmq.protocol.wire.messages import Message, MessageDecoder
from mpzmq.protocol.wire.records import BATCH_BYTES, EXECUTED, EXECUTED_NUMBER, LINK_TAG, STATUS_NUMBER, STATUSES
from mpzmq.protocol.wire.schema import MAX_TAGS
from tests.protocol.wire.test_vectors import VECTORS
from tests.support.protocol import tag

SESSION = UUID(int=1)
ENCODER = Encoder(Limits())
ARRAY = numpy.array([0, 1])

HELLO = wire.hello(SESSION, 1, "engine", 2.0, Limits())
WELCOME = wire.welcome(SESSION, 1, False, Status.RUNNING, "container", 2.0, Limits())
REQUEST = [Kind.REQUEST, 1, None, 0, Op.CALL, "add", [1], None, None]
CALL = [*REQUEST, SESSION]
"""A REQUEST for both sides: a container takes no notice of what is behind its fields."""
RESPONSE = [Kind.RESPONSE, 1, "data"]
ERROR = [Kind.ERROR, 3, 0, 1, "no", None]
RECORDS = {
    "HELLO": HELLO,
    "WELCOME": WELCOME,
    "REQUEST": REQUEST,
    "RESPONSE": RESPONSE,
    "ERROR": ERROR,
    "CANCEL": [Kind.CANCEL],
    "PING": [Kind.PING, 1],
    "PONG": [Kind.PONG, 1, 0, 0, 1, 2, 3],
    "GOODBYE": [Kind.GOODBYE, 1, "text"],
    "STARTED": [Kind.STARTED],
    "RECEIVED": [Kind.RECEIVED, 1, b"t" * 32],
    "CHUNK": [Kind.CHUNK, 0, 2, False, ["a", "b"]],
    "CREDIT": [Kind.CREDIT, 1, 2, 3],
    "TAKEN": [Kind.TAKEN, 1],
}
LINK_KINDS = {Kind.HELLO, Kind.WELCOME, Kind.PING, Kind.PONG, Kind.GOODBYE}


def frames(*records: Any, first: int = 1) -> list[bytes]:
    """A message of records of any shape."""
    buffers: list[Any] = []
    body = b"".join(ENCODER.pack([ENCODER.prepare(value, "value", buffers) for value in record]) for record in records)
    tags = b"".join(tag(first + index) for index in range(len(records)))
    return [tags, body, *map(bytes, buffers)]


def read(frames: list[bytes], answered: int = Kind.REQUEST, limits: Limits | None = None) -> Message:
    return MessageDecoder(limits or Limits(), answered).decode(frames)


def outcome(message: Message) -> tuple[list[int], list[int], int]:
    """The numbers of the tags that can be acted upon, those that cannot, and how many other records there are."""
    return (
        [int.from_bytes(tag, "big") for tag, _ in message.records],
        [int.from_bytes(tag, "big") for tag in message.malformed],
        message.ignored + len(message.malformed_calls),
    )


def changed(record: list[Any], index: int, value: Any) -> list[Any]:
    return [*record[:index], value, *record[index + 1 :]]


# Shapes


@pytest.mark.parametrize("answered", [Kind.REQUEST, Kind.RESPONSE])
def test_bytes_of_the_header_may_come_as_a_frame_but_as_nothing_else_of_one(answered: int) -> None:
    """Senders write bin there; a frame of plain bytes is the same to a reader, a view or an array is not."""
    whole, view, array = (msgpack.ExtType(1, msgpack.packb(form)) for form in (
        0, [0, "v", "B", [16]], [0, "a", "|u1", [16]],
    ))  # fmt: skip
    for form, fits in ((whole, True), (view, False), (array, False)):
        message = read([LINK_TAG, msgpack.packb([Kind.RECEIVED, 1, form]), b"t" * 16], answered)
        assert [record for _, record in message.records] == [[Kind.RECEIVED, 1, b"t" * 16]] * fits
        assert message.malformed == []
        message = read([tag(1), msgpack.packb([Kind.PART, 0, form, [b"x"]]), b"t" * 16], answered)
        assert [record for _, record in message.records] == [[Kind.PART, 0, b"t" * 16, [b"x"]]] * fits
        assert message.malformed == [tag(1)] * (not fits)


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("answered", [Kind.REQUEST, Kind.RESPONSE])
def test_every_kind_is_read_on_both_sides(name: str, answered: int) -> None:
    record = CALL if (name, answered) == ("REQUEST", Kind.RESPONSE) else RECORDS[name]
    message = read(frames(record), answered)
    assert outcome(message) == ([1], [], 0)
    assert message.records[0][1] == record


def test_what_is_astray_is_no_reply_and_no_request() -> None:
    """A REQUEST at an engine that is no call, and replies at a container: each may be of a call."""
    message = read(frames(REQUEST, ["?"], RESPONSE), Kind.RESPONSE)
    assert outcome(message) == ([3], [2], 1) and message.malformed_calls == [tag(1)]
    message = read(frames(changed(RESPONSE, 1, 9), changed(ERROR, 1, None), [Kind.RESPONSE], REQUEST), Kind.REQUEST)
    assert outcome(message) == ([4], [], 3) and message.malformed_calls == [tag(1), tag(2), tag(3)]


@pytest.mark.parametrize(
    "record",
    [
        REQUEST,
        [*REQUEST, SESSION.bytes],
        [*REQUEST, None],
        changed(CALL, 4, Op.INVOKE),
        changed(CALL, 4, Op.GETSTATE),
        changed(CALL, 5, None),
    ],
)
def test_a_call_names_a_function_and_its_request(record: list[Any]) -> None:
    assert outcome(read(frames([*CALL, "later"]), Kind.RESPONSE)) == ([1], [], 0)
    message = read(frames(record), Kind.RESPONSE)
    assert outcome(message) == ([], [], 1) and message.malformed_calls == [tag(1)]


@pytest.mark.parametrize(("answered", "length"), [(Kind.REQUEST, 9), (Kind.RESPONSE, 3)])
@pytest.mark.parametrize(
    ("kind", "buffers"),
    [
        (msgpack.ExtType(1, msgpack.packb([0, "a", "<i4", [2]])), [bytes(8)]),  # an array compares to no one truth
        (msgpack.ExtType(1, msgpack.packb([0, "v", "B", [8]])), [bytes(8)]),
        (float(Kind.REQUEST), []),
        (float(Kind.RESPONSE), []),
        (True, []),
        (None, []),
    ],
)
def test_a_kind_that_is_no_int_fails_alone(answered: int, length: int, kind: Any, buffers: list[bytes]) -> None:
    body = msgpack.packb([kind, *[1] * (length - 1)])
    message = MessageDecoder(Limits(), answered).decode([tag(1), body, *buffers])
    assert message.records == [] and message.malformed == [tag(1)]


@pytest.mark.parametrize("name", RECORDS)
def test_fields_of_later_versions_are_cut_off(name: str) -> None:
    message = read(frames([*RECORDS[name], "new", {"field": 1}]))
    assert message.records == [(tag(1), RECORDS[name])]


@pytest.mark.parametrize("name", sorted(set(RECORDS) - {"CANCEL", "STARTED"}))
def test_too_few_fields(name: str) -> None:
    for length in range(1, len(RECORDS[name])):
        if name == "PONG" and length == 4:
            continue  # its last three may be left out
        at_container = read(frames(RECORDS[name][:length]))
        at_engine = read(frames(RECORDS[name][:length]), Kind.RESPONSE)
        assert outcome(at_container) == (([], [1], 0) if name == "REQUEST" else ([], [], 1))
        assert outcome(at_engine) == (([], [1], 0) if name in ("RESPONSE", "ERROR") else ([], [], 1))


def test_a_pong_without_load() -> None:
    record = RECORDS["PONG"][:4]
    assert read(frames(record), Kind.RESPONSE).records == [(tag(1), record)]


@pytest.mark.parametrize("kind", [0, -1, 11, 13, 14, 15, 20, 16, 31, 32, 2**64 - 1])
def test_unknown_kinds_are_ignored_and_counted(kind: int) -> None:
    for fields in ([], ["anything", {"at": [1]}], RESPONSE[1:]):
        assert outcome(read(frames(REQUEST, [kind, *fields], REQUEST))) == ([1, 3], [], 1)


@pytest.mark.parametrize("record", [[], 5, {}, "text", None, ["3"], [None], [True], [1.0], [[3]], {3: 3}])
def test_what_is_no_record_fails_alone(record: Any) -> None:
    body = ENCODER.pack(CALL) + msgpack.packb(record) + ENCODER.pack(CALL)
    for answered in (Kind.REQUEST, Kind.RESPONSE):
        assert outcome(read([tag(1) + tag(2) + tag(3), body], answered)) == ([1, 3], [2], 0)
        assert outcome(read([tag(1) + LINK_TAG + tag(3), body], answered)) == ([1, 3], [], 1)


WRONG: list[tuple[str, int, list[Any]]] = [
    ("HELLO", 1, [1, None, "1", {1: 1}, [None], ["1"], [1.0], [True], [-1], [ARRAY], [[1]]]),
    ("HELLO", 2, [None, "x", b"x" * 16, 1]),
    ("HELLO", 3, [None, -1, 1.0, True, "1"]),
    ("HELLO", 4, [None, 1, b"x", ARRAY]),
    ("HELLO", 5, [None, 0, -1, 0.0, float("inf"), float("nan"), "1", True, ARRAY]),
    ("HELLO", 6, [None, [], {1: 1}, {"a": 0}, {"a": -1}, {"a": 1.0}, {"a": True}, {"a": ARRAY}, {b"a": 1}]),
    ("WELCOME", 1, [None, 1.0, True, "1", ARRAY]),
    ("WELCOME", 2, [None, "x", 1]),
    ("WELCOME", 3, [None, -1, True]),
    ("WELCOME", 4, [None, 0, 1, "yes"]),
    ("WELCOME", 5, [None, 2, -1, True, 1.0, "RUNNING", ARRAY]),
    ("WELCOME", 6, [None, 1]),
    ("WELCOME", 7, [None, 0, float("inf")]),
    ("WELCOME", 8, [None, 1, [], [1], [1, 2, 3], [0, 1], [1, 0], [1.0, 1], [True, 1], {}, [ARRAY, 1], ARRAY]),
    ("WELCOME", 9, [None, {"a": 0}]),
    ("REQUEST", 1, [None, 1.0, True, "1", ARRAY]),
    ("REQUEST", 2, [1.0, True, "1", ARRAY]),
    ("REQUEST", 3, [None, True, 1.0]),
    ("REQUEST", 4, [None, True, 1.0, "CALL", ARRAY]),
    ("REQUEST", 5, [None, 1, b"add", ARRAY]),
    ("REQUEST", 6, [None, {}, 1, "args", ARRAY, [{None: 1}]]),
    ("REQUEST", 7, [[], 1, {1: 1}, {b"k": 1}, {"k": {True: 1}}]),
    ("REQUEST", 8, [[], 1, {1: 1}, {"k": {None: 1}}]),
    ("RESPONSE", 1, [None, 2, -1, True, 1.0, "RUNNING", ARRAY, [1]]),
    ("RESPONSE", 2, [{None: 1}, [{1.5: 1}]]),
    ("ERROR", 1, [None, True, 1.0, "x", ARRAY]),
    ("ERROR", 2, [None, 3, -1, True, 1.0, ARRAY]),
    ("ERROR", 3, [None, 2, -1, True, 1.0, ARRAY]),
    ("ERROR", 4, [None, 1, b"x", ARRAY]),
    ("ERROR", 5, [[], 1, {None: 1}, {"a": {True: 1}}]),
    ("PING", 1, [None, 0, -1, True, 1.0, ARRAY]),
    ("PONG", 1, [None, -1, True]),
    ("PONG", 2, [None, -1, True]),
    ("PONG", 3, [None, -1, 1.0, ARRAY]),
    ("GOODBYE", 1, [None, True, 1.0, ARRAY]),
    ("GOODBYE", 2, [None, 1, b"x", ARRAY]),
    ("PONG", 4, [None, -1, 2, True]),
    ("PONG", 5, [None, -1, 1.0]),
    ("PONG", 6, [None, -1, ARRAY]),
    ("RECEIVED", 1, [None, -1, True, 1.0, ARRAY]),
    ("RECEIVED", 2, [None, "t" * 16, b"t" * 15, b"t" * 16 * (MAX_TAGS + 1), [], ARRAY]),
    ("CHUNK", 1, [None, -1, True, 1.0]),
    ("CHUNK", 2, [None, -1, True, 1.0]),
    ("CHUNK", 3, [None, 0, 1, ARRAY]),
    ("CHUNK", 4, [None, [], {}, "items", [{None: 1}], ARRAY]),
    ("CREDIT", 1, [None, -1, True, 1.0, ARRAY]),
    ("CREDIT", 2, [None, -1, True, 1.0]),
    ("CREDIT", 3, [None, -1, True, 1.0]),
    ("TAKEN", 1, [None, -1, True, 1.0, ARRAY]),
]


@pytest.mark.parametrize(("name", "index", "values"), WRONG, ids=[f"{name}[{index}]" for name, index, _ in WRONG])
def test_fields_of_wrong_type_fail_alone(name: str, index: int, values: list[Any]) -> None:
    for value in values:
        record = changed(CALL if name == "REQUEST" else RECORDS[name], index, value)
        buffers: list[Any] = []
        # Not by prepare(): it would refuse some of the keys.
        if isinstance(value, dict | list) and not any(isinstance(item, numpy.ndarray) for item in _items(value)):
            body = ENCODER.pack(record)
        else:
            body = ENCODER.pack([ENCODER.prepare(field, "field", buffers) for field in record])
        before, behind = ENCODER.pack(CALL), ENCODER.pack(RESPONSE)
        message = [tag(1) + tag(2) + tag(3), before + body + behind, *map(bytes, buffers)]
        at_container, at_engine = read(message), read(message, Kind.RESPONSE)
        fault: tuple[Any, Any] = ([1, 3], [2], 0), ([1, 3], [], 1)
        assert outcome(at_container) == fault[name != "REQUEST"], value
        assert outcome(at_engine) == fault[name not in ("RESPONSE", "ERROR")], value
        assert (len(at_container.malformed_calls), len(at_engine.malformed_calls)) == (
            name in ("RESPONSE", "ERROR"),
            name == "REQUEST",
        )


def _items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


@pytest.mark.parametrize("op", [Op.INVOKE, Op.SETSTATE, Op.STATISTICS, 9, 99, -1])
def test_arguments_of_plain_requests(op: int) -> None:
    """All but CALL, GETSTATE and DESCRIBE have exactly one, unknown operations too."""
    for args, fits in (([], False), ([1], True), ([1, 2], False)):
        record = [Kind.REQUEST, 1, None, 0, op, None, args, None, None]
        assert outcome(read(frames(record))) == (([1], [], 0) if fits else ([], [1], 0))


def test_arguments_of_the_other_operations() -> None:
    for op in (Op.GETSTATE, Op.DESCRIBE):
        for args in ([], [1]):
            assert outcome(read(frames([Kind.REQUEST, 1, None, 0, op, None, args, None, None])))[0] == [1]
    for function, fits in (("add", True), ("", True), (None, False)):
        message = read(frames(changed(REQUEST, 5, function)))
        assert bool(message.records) is fits


def test_values_beyond_the_limits_fail_alone() -> None:
    limits = Limits(depth=3, items=100)
    values: list[Any] = [[[[[]]]], [list(range(60)), list(range(40))]]
    for value in values:
        for at_fault in (
            changed(REQUEST, 6, [value]),
            changed(REQUEST, 7, {"k": value}),
            changed(REQUEST, 8, {"k": value}),
        ):
            assert outcome(read(frames(REQUEST, at_fault, REQUEST), limits=limits)) == ([1, 3], [2], 0)
        for at_fault in (changed(RESPONSE, 2, value), changed(ERROR, 5, {"k": value})):
            assert outcome(read(frames(RESPONSE, at_fault, ERROR), Kind.RESPONSE, limits)) == ([1, 3], [2], 0)


def test_a_list_longer_than_the_limit_stops_the_decoding() -> None:
    """Its header is refused before room is made for its elements, so where it ends is not known."""
    message = frames(REQUEST, changed(REQUEST, 6, [list(range(101))]), REQUEST)
    assert outcome(read(message, limits=Limits(items=100))) == ([1], [2, 3], 0)


def test_records_within_the_limits_fit_into_one_message() -> None:
    limits = Limits(items=100)
    records = [changed(REQUEST, 6, [list(range(90))])] * 10
    assert outcome(read(frames(*records), limits=limits)) == (list(range(1, 11)), [], 0)


def test_what_the_encoder_lets_pass_is_within_the_limits() -> None:
    limits = Limits(items=100)
    encoder = Encoder(limits)
    args = [encoder.prepare(list(range(60)), "args", []) for _ in range(2)]
    assert outcome(read([tag(1), encoder.pack(changed(REQUEST, 6, args))], limits=limits)) == ([1], [], 0)


# Tags and whole messages


@pytest.mark.parametrize("message", [[], [b""], [tag(1)], [b"", b""], [b"", msgpack.packb(REQUEST)], [b"x", b""]])
def test_what_is_no_message_is_ignored(message: list[bytes]) -> None:
    assert outcome(read(message)) == ([], [], 1)


@pytest.mark.parametrize("extra", range(1, 16))
def test_tags_of_wrong_length_run_nothing(extra: int) -> None:
    tags, body = frames(REQUEST, HELLO, REQUEST)
    assert outcome(read([tags + bytes(extra), body])) == ([], [1, 3], 1)


def test_more_records_than_tags() -> None:
    tags, body = frames(REQUEST, REQUEST)
    assert outcome(read([tags[:16], body])) == ([], [1], 0)


def test_more_tags_than_records() -> None:
    tags, body = frames(REQUEST, REQUEST)
    assert outcome(read([tags + tag(3) + LINK_TAG, body])) == ([1, 2], [3], 1)


def test_decoding_that_stops_in_the_middle() -> None:
    tags, body = frames(REQUEST, REQUEST, REQUEST, REQUEST)
    one = len(body) // 4
    broken = body[: 2 * one] + b"\xc1" + body[2 * one + 1 :]
    assert outcome(read([tags, broken])) == ([1, 2], [3, 4], 0)
    assert outcome(read([tags, body[:-1]])) == ([1, 2, 3], [4], 0)
    assert outcome(read([tags, b""])) == ([], [1, 2, 3, 4], 0)


def test_a_batch_larger_than_the_limit() -> None:
    limits = Limits(batch_records=3)
    assert outcome(read(frames(*[REQUEST] * 3), limits=limits)) == ([1, 2, 3], [], 0)
    assert outcome(read(frames(*[REQUEST] * 4), limits=limits)) == ([], [1, 2, 3], 0)


def test_a_frame_of_a_million_tags_costs_no_more_than_the_limit() -> None:
    assert len(read([b"x" * 16_000_000, b""], limits=Limits(batch_records=2)).malformed) == 2


@pytest.mark.parametrize("left_over", [[b"x"], [b"x", b"y"]])
def test_buffers_that_nobody_refers_to(left_over: list[bytes]) -> None:
    assert outcome(read([*frames(REQUEST, [Kind.PING, 1], REQUEST), *left_over])) == ([], [1, 3], 1)


def test_buffers_twice_or_out_of_order() -> None:
    def by_reference(*indexes: int) -> bytes:
        args = [msgpack.ExtType(1, msgpack.packb(index)) for index in indexes]
        return ENCODER.pack(changed(REQUEST, 6, args))

    both = tag(1) + tag(2)
    good = ENCODER.pack(REQUEST)
    assert outcome(read([both, by_reference(0) + by_reference(1), b"a", b"b"])) == ([1, 2], [], 0)
    assert outcome(read([both, by_reference(1) + by_reference(0), b"a", b"b"])) == ([], [1, 2], 0)
    assert outcome(read([both, good + by_reference(0, 0), b"a", b"b"])) == ([], [1, 2], 0)
    assert outcome(read([both, good + by_reference(1), b"a", b"b"])) == ([], [1, 2], 0)
    assert outcome(read([both, good + by_reference(5)])) == ([], [1, 2], 0)
    assert outcome(read([both, by_reference(0) + by_reference(0), b"a"])) == ([], [1, 2], 0)


def test_a_batch_beyond_its_size_is_not_decoded() -> None:
    long = changed(REQUEST, 6, ["x" * (BATCH_BYTES - 1000)])
    assert outcome(read(frames(long))) == ([1], [], 0)
    assert outcome(read(frames(long, REQUEST))) == ([1, 2], [], 0)
    assert outcome(read(frames(long, long))) == ([], [1, 2], 0)


@pytest.mark.parametrize("answered", [Kind.REQUEST, Kind.RESPONSE])
def test_a_reader_reads_on_after_anything(answered: int) -> None:
    reader = MessageDecoder(Limits(), answered)
    for broken in ([tag(1), b"\xc1"], [tag(1), b"\xa2\xff\xff"], [tag(1), b"\xdd\xff\xff\xff\xff"], [b"x"], []):
        reader.decode(broken)
        assert outcome(reader.decode(frames(CALL))) == ([1], [], 0)


def test_frames_may_be_views() -> None:
    message = MessageDecoder(Limits(), Kind.REQUEST).decode([memoryview(frame) for frame in frames(REQUEST)])
    assert message.records == [(tag(1), REQUEST)]


def test_malformed_requests_of_the_link_tag() -> None:
    assert read([LINK_TAG, msgpack.packb([Kind.REQUEST])]).malformed == [LINK_TAG]


# Whatever the bytes are


def check_any(frames: list[bytes]) -> None:
    for answered in (Kind.REQUEST, Kind.RESPONSE):
        limits = Limits(batch_records=8, items=1000, depth=8)
        message = read(frames, answered, limits)
        assert message.size == sum(map(len, frames))
        tags = min(len(frames[0]) // 16, 8) if len(frames) > 1 else 0
        assert len(message.records) + len(message.malformed) + len(message.malformed_calls) + message.ignored == max(
            tags, 1
        )
        for _, record in message.records:
            assert record[0] in {number for name, number in vars(Kind).items() if name.isupper()}
        if frames:
            reader = MessageDecoder(limits, answered)
            reader.decode(frames)
            assert reader.decode([tag(1), ENCODER.pack(RESPONSE)]).records == [(tag(1), RESPONSE)]


@given(st.lists(st.binary(max_size=64), max_size=5))
def test_random_frames_never_raise(frames: list[bytes]) -> None:
    check_any(frames)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
    | st.text(max_size=4) | st.binary(max_size=4)
    | st.builds(msgpack.ExtType, st.integers(0, 4), st.binary(max_size=20))
    | st.builds(lambda i: msgpack.ExtType(1, msgpack.packb(i)), st.integers(-1, 3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip
ANY_RECORD = st.builds(lambda kind, fields: [kind, *fields], st.integers(0, 12), st.lists(ANYTHING, max_size=10))


@given(st.lists(ANY_RECORD, max_size=4), st.lists(st.binary(max_size=9), max_size=3))
def test_random_records_never_raise(records: list[Any], buffers: list[bytes]) -> None:
    tags = b"".join(tag(index) for index in range(len(records)))
    check_any([tags, b"".join(map(msgpack.packb, records)), *buffers])


SMALL = [vector.frames for vector in VECTORS if sum(map(len, vector.frames)) < 1000]


@given(st.data())
def test_mutated_messages_never_raise(data: st.DataObject) -> None:
    frames = list(data.draw(st.sampled_from(SMALL)))
    for _ in range(data.draw(st.integers(1, 4))):
        if not frames:
            break
        index = data.draw(st.integers(0, len(frames) - 1))
        frame = frames[index]
        where = data.draw(st.integers(0, len(frame)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "delete", "double", "drop", "swap"])):
            case "flip" if where < len(frame):
                frames[index] = frame[:where] + bytes([data.draw(st.integers(0, 255))]) + frame[where + 1 :]
            case "cut":
                frames[index] = frame[:where]
            case "insert":
                frames[index] = frame[:where] + data.draw(st.binary(min_size=1, max_size=8)) + frame[where:]
            case "delete":
                frames[index] = frame[:where] + frame[where + 1 :]
            case "double":
                frames.insert(index, frame)
            case "drop":
                del frames[index]
            case _:
                frames.reverse()
    check_any(frames)


# Building


def test_numbers_of_words() -> None:
    assert STATUSES == (Status.STOP, Status.RUNNING)
    assert STATUS_NUMBER == {Status.STOP: 0, Status.RUNNING: 1}
    assert EXECUTED == (Executed.NO, Executed.UNKNOWN, Executed.YES)
    assert {number: EXECUTED[number] for number in EXECUTED_NUMBER.values()} == dict(enumerate(EXECUTED))


@pytest.mark.parametrize("constants", [Kind, Op, Code, Goodbye])
def test_no_number_is_used_twice(constants: type) -> None:
    numbers = [number for name, number in vars(constants).items() if name.isupper()]
    assert len(set(numbers)) == len(numbers)
    assert constants is not Kind or all(number < 21 for number in numbers), "21 to 31 are reserved"


def test_greetings_announce_the_limits() -> None:
    limits = Limits(
        message_bytes=5000,
        batch_records=7,
        depth=8,
        items=9,
        window=10,
        queued_bytes=11,
        stream_items=12,
        stream_bytes=13,
        in_flight=14,
        reply_bytes=15,
    )
    announced = {"message_bytes": 5000, "batch_records": 7, "depth": 8, "items": 9}
    replies = {"in_flight": 14, "reply_entries": 14, "reply_bytes": 15}
    streams = {"stream_items": 12, "stream_bytes": 13, "unread_bytes": 11}
    assert wire.hello(SESSION, 4, "e", 1.5, limits) == [1, [wire.VERSION], SESSION, 4, "e", 1.5, announced | streams]
    expected = [2, wire.VERSION, SESSION, 4, True, 0, "c", 1.5, [10, 11], announced | replies]
    assert wire.welcome(SESSION, 4, True, Status.STOP, "c", 1.5, limits) == expected


def test_the_size_is_that_of_all_frames() -> None:
    assert read([b"abc", memoryview(b"de"), b""]).size == 5  # type: ignore[list-item]
