"""Faults for copies of the Node example: each breaks one rule of level 1, so that a peer can see it.

The rules are those of docs/protocol.md, section 17: 1 to 3 of both sides, 4 to 10 of an engine, 11 to 15 of a
container.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CLIENT", "CONTAINER", "Fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One change of one file of the example.

    Attributes:
        name: what the faulty program does.
        file: which one is changed.
        before: a text that occurs once in it.
        after: what stands there instead.
        rule: the number of the rule that is broken.
    """

    name: str
    file: str
    before: str
    after: str
    rule: int

    def plant(self, folder: Path) -> None:
        """Changes a copy of the example."""
        file = folder / self.file
        text = file.read_text()
        if (times := text.count(self.before)) != 1:
            raise ValueError(f"{self.name}: {self.before!r} occurs {times} times in {self.file}")
        file.write_text(text.replace(self.before, self.after))


def in_container(rule: int, name: str, before: str, after: str) -> Fault:
    return Fault(name, "container.mjs", before, after, rule)


def in_client(rule: int, name: str, before: str, after: str) -> Fault:
    return Fault(name, "client.mjs", before, after, rule)


CONTAINER = (
    in_container(
        1,
        "does not read bytes that come as ext 1",
        "? this.#receive(engine, size, wire.read(frames))",
        "? this.#receive(engine, size, wire.read(frames.slice(0, 2)))",
    ),
    in_container(
        2,
        "ends when it reads an unknown kind",
        "else if (kind === wire.GOODBYE) this.#leave(engine);",
        "else if (kind === wire.GOODBYE) this.#leave(engine);\n    else if (kind > wire.RECEIVED) process.exit(1);",
    ),
    in_container(
        2,
        "does not answer a malformed REQUEST",
        "this.#refuse(engine, tag, wire.MALFORMED, `it is wrong: ${wrong}`);",
        "return;",
    ),
    in_container(3, "echoes a wrong number in PONG", "pong(fields.number);", "pong(fields.number + 1);"),
    in_container(11, "says that the session is resumed", "number, false, 1,", "number, true, 1,"),
    in_container(
        11,
        "accepts HELLO of version 1 alone",
        "if (!versions.includes(wire.VERSION)) return",
        "if (!versions.length) return",
    ),
    in_container(
        11,
        "lets run what an older connection of the session asked for",
        "other.session === engine.session && this.#leave(other)",
        "other.session === null && this.#leave(other)",
    ),
    in_container(
        12,
        "runs a REQUEST without HELLO",
        "const engine = this.#engines.get(key);",
        "const engine = this.#engines.get(key) ?? (wire.read(frames).kind === wire.REQUEST\n"
        "        && { key, route, running: new Map(), messages: 0, bytes: 0 });",
    ),
    in_container(
        12,
        "does not answer a PING without HELLO",
        "if (kind === wire.REQUEST || kind === wire.PING) this.#refuse",
        "if (kind === wire.REQUEST) this.#refuse",
    ),
    in_container(
        13,
        "answers twice",
        "this.#send(engine, tag, ...record);\n      stop.abort();",
        "this.#send(engine, tag, ...record);\n      this.#send(engine, tag, ...record);\n      stop.abort();",
    ),
    in_container(13, "answers behind CANCEL", 'engine.running.get(tag.toString("hex"))?.abort();', "return;"),
    in_container(13, "runs what comes after its deadline", "if (left <= 0) return", "if (left < -wire.LONGEST) return"),
    in_container(
        13, "says NO of what has run", "answer(wire.ERROR, code, wire.YES, 1,", "answer(wire.ERROR, code, wire.NO, 1,"
    ),
    in_container(13, "never says STARTED", "after(100, () =>", "after(wire.LONGEST, () =>"),
    in_container(
        13,
        "does not answer for a function that it does not have",
        "return this.#refuse(engine, tag, wire.UNSUPPORTED, `there is no function ${called}`);",
        "return;",
    ),
    in_container(14, "never says PONG unasked", "=== 0) pong(0);", "=== -1) pong(0);"),
    in_container(14, "counts HELLO among the messages", "messages: 0, bytes: 0", "messages: 1, bytes: 0"),
    in_container(
        15, "runs new requests while it drains", "if (this.#draining) return this", "if (!this.name) return this"
    ),
    in_container(
        15,
        "drains without GOODBYE(DRAINING)",
        'this.#send(engine, wire.LINK, wire.GOODBYE, wire.DRAINING, "it drains")',
        "engine",
    ),
    in_container(
        15, "drains without waiting for what runs", "await all((engine) => !engine.running.size);", "await sleep(10);"
    ),
)

CLIENT = (
    in_client(
        1,
        "does not read bytes that come as ext 1",
        "this.#receive(wire.read(frames))",
        "this.#receive(wire.read(frames.slice(0, 2)))",
    ),
    in_client(
        2,
        "ends the connection when it reads an unknown kind",
        "else if (wrong) return;",
        "else if (wrong) return;\n    else if (kind > wire.RECEIVED) this.#stop(true);",
    ),
    in_client(3, "does not answer a PING", "else if (kind === wire.PING)", "else if (kind === -wire.PING)"),
    in_client(4, "sends requests in front of WELCOME", "number: 1, open: false,", "number: 1, open: true,"),
    in_client(
        4,
        "goes on behind WELCOME of version 1",
        "if (version !== wire.VERSION || number !== link.number) return;",
        "if (number !== link.number) return;",
    ),
    in_client(
        4,
        "has one session for all connections",
        "wire.uuid(randomBytes(16)), link.number",
        "wire.uuid(Buffer.alloc(16, 7)), link.number",
    ),
    in_client(
        5,
        "gives all its requests the same tag",
        "tag: randomBytes(16), executed",
        "tag: Buffer.alloc(16, 7), executed",
    ),
    in_client(5, "gives all its requests the same number", "++link.sequence, remaining", "1, remaining"),
    in_client(
        5,
        "does not say CANCEL at a deadline",
        "this.#send(call.tag, wire.CANCEL);",
        "this.#left.get(call.tag);",
    ),
    in_client(
        5,
        "does not say how much time is left",
        "const remaining = Math.max(1, Math.ceil(call.deadline - Date.now()));",
        "const remaining = wire.LONGEST;",
    ),
    in_client(
        5,
        "takes a second answer for that of another call",
        'const call = this.#left.get(tag.toString("hex"));',
        'const call = this.#left.get(tag.toString("hex")) ?? this.#left.values().next().value;',
    ),
    in_client(6, "has more than half of the window unanswered", "this.#left.size >= link.most || ", ""),
    in_client(7, "never says RECEIVED", "answers % 32 === 0", "answers % 32 === -1"),
    in_client(
        7,
        "says RECEIVED with a number that does not rise",
        "wire.RECEIVED, this.#link.sequence + 1,",
        "wire.RECEIVED, 1,",
    ),
    in_client(8, "says NO of what has left", 'call.executed = "UNKNOWN";', 'call.executed = "NO";'),
    in_client(
        8,
        "says UNKNOWN of what was STARTED",
        'else if (kind === wire.STARTED && call) call.executed = "YES";',
        'else if (kind === wire.STARTED && call) call.executed = "UNKNOWN";',
    ),
    in_client(
        8,
        "sends again what a lost connection left unanswered",
        'this.#giveUp(call, "the connection was lost");',
        'this.#left.delete(call.tag.toString("hex")), this.#waiting.add(call);',
    ),
    in_client(
        9,
        "sends new requests behind GOODBYE(DRAINING)",
        "this.#link.open = false;\n    if (now)",
        "if (now)",
    ),
    in_client(
        9,
        "stays on a connection behind GOODBYE(CLOSED)",
        "this.#stop(!link.most || fields.code !== wire.DRAINING)",
        "this.#stop(!link.most)",
    ),
    in_client(
        10,
        "leaves without GOODBYE",
        "if (this.#link.most) this.#send(wire.LINK, wire.GOODBYE, wire.CLOSED",
        "if (!this.#link) this.#send(wire.LINK, wire.GOODBYE, wire.CLOSED",
    ),
)
