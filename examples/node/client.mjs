// A client of level 1 (docs/protocol.md, section 17): a session for each connection, nothing is sent again.
//
//     const client = new Client("tcp://127.0.0.1:3010");
//     await client.call("add", [1, 2], { timeout: 5 });
//     await client.close();
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Dealer } from "zeromq";
import * as wire from "./wire.mjs";

const EXECUTED = ["NO", "UNKNOWN", "YES"];
const REDIAL = 500; // ms between two dials

export class CallError extends Error {
  constructor(message, executed, code) {
    super(`${message} (executed: ${executed})`);
    Object.assign(this, { executed, code });
  }
}

export class Client {
  #pending = new Map(); // by tag: every call ends here, and only once
  #changed = deferred();
  #closed = false;
  #socket = null; // set while WELCOME holds and no GOODBYE has come
  #sequence = 0;
  #answered = 0;

  constructor(endpoint, { name = "node", interval = 2 } = {}) {
    Object.assign(this, { endpoint, name, interval, instance: null, dials: 0 });
    this.running = this.#run();
  }

  async call(name, args = [], { kwargs = null, timeout = 30 } = {}) {
    wire.pack(wire.LINK, [args, kwargs]); // what cannot be sent is told here
    const deadline = Date.now() + timeout * 1000;
    const entry = { ...deferred(), name, sent: false, started: false };
    entry.timer = setTimeout(() => this.#end(entry, null, "its deadline has come"), timeout * 1000);
    entry.tag = randomBytes(16);
    while (!entry.over && !(this.#socket && this.#pending.size < this.#socket.most)) {
      if (this.#closed) this.#end(entry, null, "the client was closed");
      else await this.#changed.promise;
    }
    if (!entry.over) {
      this.#pending.set(entry.tag.toString("hex"), entry);
      entry.socket = this.#socket;
      entry.sent = true;
      const left = Math.max(1, deadline - Date.now());
      const record = [wire.REQUEST, ++this.#sequence, Math.ceil(left), 0, 3, name, args, kwargs, null];
      this.#send(entry.socket, entry.tag, record);
    }
    return entry.promise;
  }

  async close() {
    this.#closed = true;
    for (const entry of [...this.#pending.values()]) this.#end(entry, null, "the client was closed", false);
    if (this.#socket) this.#send(this.#socket, wire.LINK, [wire.GOODBYE, 2, "closed"]);
    await sleep(50);
    this.current?.socket.close();
    this.#wake();
    await this.running;
  }

  // One connection after the other, each with a socket and a session of its own.
  async #run() {
    for (; !this.#closed; await sleep(this.#closed ? 0 : REDIAL)) {
      const socket = new Dealer({ reconnectInterval: -1, linger: 200, receiveHighWaterMark: 0, sendTimeout: 0,
        heartbeatInterval: 1500, heartbeatTimeout: 5000, handshakeInterval: 3000, connectTimeout: 3000 });
      const link = (this.current = { socket, queue: Promise.resolve(), most: 0, number: 1 });
      this.dials += 1;
      socket.events.on("handshake", () => this.#send(link, wire.LINK, [wire.HELLO, [wire.VERSION],
        wire.uuid(randomBytes(16)), link.number, this.name, this.interval, wire.LIMITS]));
      for (const end of ["disconnect", "connect:retry", "close", "handshake:error:protocol",
        "handshake:error:other"]) socket.events.on(end, () => socket.close());
      socket.connect(this.endpoint);
      const greeting = setTimeout(() => link.most || socket.close(), 5000); // no WELCOME: a failed dial
      const beat = setInterval(() => this.#beat(link), this.interval * 1000);
      try {
        for await (const frames of socket) this.#receive(link, wire.unpack(frames));
      } catch (error) {
        if (!socket.closed) console.error("the connection is given up:", error); // over a message of it
        socket.close();
      }
      clearTimeout(greeting);
      clearInterval(beat);
      if (this.#socket === link) this.#socket = null;
      for (const entry of [...this.#pending.values()])
        if (entry.socket === link) this.#end(entry, null, "the connection was lost", false);
    }
  }

  #receive(link, message) {
    if (!message) return;
    const [tag, [kind, ...fields]] = message;
    const entry = this.#pending.get(tag.toString("hex"));
    if (kind === wire.WELCOME && fields[2] === link.number && fields[0] === wire.VERSION) {
      const [, instance, , , , , , [messages], limits] = fields;
      this.instance = instance.toString("hex");
      // Half of the window: each answer shows that its request was read, and no more has to be counted.
      const kept = Math.max(64, (limits.reply_bytes ?? 8 << 20) / 336);
      link.most = Math.max(1, Math.min(messages / 2, limits.in_flight ?? 1024, limits.reply_entries ?? 1024, kept));
      this.#socket = link;
      this.#sequence = 0;
      this.#wake();
    } else if (kind === wire.PING) this.#send(link, wire.LINK, [wire.PONG, fields[0], 0, 0]);
    else if (kind === wire.GOODBYE) {
      if (this.#socket === link) this.#socket = null; // what runs goes on, nothing new leaves here
      if (fields[0] !== 1) link.socket.close();
    } else if (kind === wire.STARTED && entry) entry.started = true;
    else if (kind === wire.RESPONSE && entry) this.#end(entry, { value: fields[1] });
    else if (kind === wire.ERROR && entry) {
      const [code, executed, , text] = fields;
      this.#end(entry, { error: new CallError(text, EXECUTED[executed] ?? "UNKNOWN", code) });
      if (code === 1) link.socket.close(); // it has forgotten this session
      if (code === 6 && this.#socket === link) this.#socket = null; // it drains
    }
  }

  #end(entry, outcome, why, cancel = true) {
    if (entry.over) return;
    entry.over = true;
    clearTimeout(entry.timer);
    this.#pending.delete(entry.tag.toString("hex"));
    if (outcome?.error) entry.reject(outcome.error);
    else if (outcome) entry.resolve(outcome.value);
    else entry.reject(new CallError(`${entry.name}: ${why}`, entry.started ? "YES" : entry.sent ? "UNKNOWN" : "NO"));
    if (entry.sent && !outcome && cancel) this.#send(entry.socket, entry.tag, [wire.CANCEL]);
    // Nothing is sent again: the container need keep no answer to what is below the next number.
    if (outcome && ++this.#answered % 32 === 0)
      this.#send(entry.socket, wire.LINK, [wire.RECEIVED, this.#sequence + 1, Buffer.alloc(0)]);
    this.#wake();
  }

  #beat(link) {
    if (this.#socket === link) this.#send(link, wire.LINK, [wire.PING, link.number]);
  }

  // A socket of zeromq.js takes one send at a time.
  #send(link, tag, record) {
    link.queue = link.queue.then(() => link.socket.send(wire.pack(tag, record))).catch(() => {});
  }

  #wake() {
    const before = this.#changed;
    this.#changed = deferred();
    before.resolve();
  }
}

function deferred() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}
