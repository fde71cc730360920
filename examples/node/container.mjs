// A container of level 1 (docs/protocol.md, section 17): it keeps no answers, and says so with every WELCOME.
//
//     const container = new Container({ functions: { add: (a, b) => a + b } });
//     console.log(await container.bind("tcp://127.0.0.1:0"));
//     await container.drain(8);
//     await container.close();
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Router } from "zeromq";
import * as wire from "./wire.mjs";

const WINDOW = [512, 64 << 20];
const NO = 0, YES = 2;
const MALFORMED = 2, UNSUPPORTED = 3, DRAINING = 6, EXPIRED = 10, REMOTE = 11;

export class Container {
  #engines = new Map(); // by routing id: who has said HELLO there
  #running = new Set();
  #instance = randomBytes(16);
  #draining = false;
  #queue = Promise.resolve();

  constructor({ name = "node", functions = {} } = {}) {
    Object.assign(this, { name, functions });
    this.socket = new Router({ mandatory: true, linger: 200, receiveHighWaterMark: 0, sendTimeout: 0,
      heartbeatInterval: 5000, heartbeatTimeout: 5000, handshakeInterval: 3000, maxMessageSize: 1 << 20 });
  }

  async bind(endpoint) {
    await this.socket.bind(endpoint);
    this.serving = this.#serve();
    return this.socket.lastEndpoint;
  }

  // No new work; returns when what runs has ended and every engine has read its answers, or when the time is over.
  async drain(seconds) {
    this.#draining = true;
    for (const engine of this.#engines.values()) this.#send(engine, wire.LINK, [wire.GOODBYE, 1, "draining"]);
    const end = Date.now() + seconds * 1000;
    while (this.#running.size && Date.now() < end) await sleep(10);
    for (const engine of this.#engines.values()) {
      engine.unread = true;
      this.#send(engine, wire.LINK, [wire.PING, engine.number]);
    }
    while ([...this.#engines.values()].some((engine) => engine.unread) && Date.now() < end) await sleep(10);
  }

  async close() {
    this.#draining = true;
    for (const request of this.#running) request.cancelled = true;
    for (const engine of this.#engines.values()) this.#send(engine, wire.LINK, [wire.GOODBYE, 2, "closed"]);
    await this.#queue;
    await sleep(50);
    this.socket.close();
    await this.serving;
  }

  async #serve() {
    try {
      for await (const [route, ...frames] of this.socket) {
        const message = wire.unpack(frames);
        try {
          if (message) this.#receive(route, frames.reduce((sum, frame) => sum + frame.length, 0), ...message);
        } catch (error) {
          console.error("a message could not be processed:", error); // those of others are not to be lost with it
        }
      }
    } catch { /* it was closed */ }
  }

  #receive(route, size, tag, record) {
    const [kind, ...fields] = record;
    const key = route.toString("hex");
    const engine = this.#engines.get(key);
    if (kind === wire.HELLO) return this.#greet(key, route, fields);
    if (!engine) {
      // Nothing is run for who has not said HELLO on this connection.
      if (kind === wire.REQUEST || kind === wire.PING) this.#fail({ route }, tag, 1, NO, "no HELLO on this connection yet");
      return;
    }
    engine.messages += 1;
    engine.bytes += size;
    if (kind === wire.REQUEST) this.#run(engine, tag, record);
    else if (kind === wire.CANCEL) [...this.#running].find((one) => one.tag.equals(tag))?.cancel();
    else if (kind === wire.PING) this.#send(engine, wire.LINK, [wire.PONG, fields[0], engine.messages, engine.bytes]);
    else if (kind === wire.PONG && fields[0] === engine.number) engine.unread = false;
    else if (kind === wire.GOODBYE) this.#leave(key);
    if (engine.messages - engine.told >= WINDOW[0] / 4) {
      engine.told = engine.messages; // a quarter of the window was read: the engine may send as much again
      this.#send(engine, wire.LINK, [wire.PONG, 0, engine.messages, engine.bytes]);
    }
  }

  #greet(key, route, [versions, session, number]) {
    if (!Array.isArray(versions) || !versions.includes(wire.VERSION)) {
      const text = `this container speaks version ${wire.VERSION}`;
      return this.#send({ route }, wire.LINK, [wire.GOODBYE, 3, text]);
    }
    const field = !Buffer.isBuffer(session) ? "session" : !Number.isInteger(number) ? "number" : null;
    if (field) return this.#send({ route }, wire.LINK, [wire.GOODBYE, 6, `the HELLO is not accepted: its ${field}`]);
    // A new connection of a session that is known ends the older one: its answers would go nowhere.
    for (const [other, engine] of this.#engines) if (engine.session.equals(session)) this.#leave(other);
    const engine = { route, session, number, messages: 0, bytes: 0, told: 0, unread: false };
    this.#engines.set(key, engine);
    const limits = { ...wire.LIMITS, in_flight: 10_000, reply_entries: 10_000, reply_bytes: 8 << 20 };
    this.#send(engine, wire.LINK, [wire.WELCOME, wire.VERSION, wire.uuid(this.#instance), number, false, 1, this.name, 2,
      WINDOW, limits]);
    if (this.#draining) this.#send(engine, wire.LINK, [wire.GOODBYE, 1, "draining"]);
  }

  async #run(engine, tag, record) {
    const sound = record.length >= 9 && Array.isArray(record[6]) && (record[2] === null || Number.isInteger(record[2]));
    if (!sound) return this.#fail(engine, tag, MALFORMED, NO, "it is not a request");
    const [, , remaining, , op, name, args, kwargs] = record;
    const handler = op === 0 ? this.functions.invoke : op === 3 ? this.functions[name] : undefined;
    if (op === 2) return this.#send(engine, tag, [wire.RESPONSE, 1, null]);
    if (this.#draining) return this.#fail(engine, tag, DRAINING, NO, "draining");
    if (!handler || !Object.hasOwn(this.functions, op === 0 ? "invoke" : name))
      return this.#fail(engine, tag, UNSUPPORTED, NO, `there is no function ${name}`);
    if (remaining !== null && remaining <= 0) return this.#fail(engine, tag, EXPIRED, NO, "too late");
    const stop = new AbortController();
    const request = { engine, tag, cancelled: false, cancel: () => { request.cancelled = true; stop.abort(); } };
    this.#running.add(request);
    const started = setTimeout(() => this.#send(engine, tag, [wire.STARTED]), 100);
    const expired = remaining !== null && setTimeout(() => {
      if (!request.cancelled) this.#fail(engine, tag, EXPIRED, YES, "its deadline has come");
      request.cancel();
    }, remaining);
    let answer;
    try {
      answer = [wire.RESPONSE, 1, (await handler(...args, { ...kwargs, signal: stop.signal })) ?? null];
      wire.pack(tag, answer); // what cannot be sent is told as what the handler raised
    } catch (error) {
      answer = [wire.ERROR, REMOTE, YES, 1, String(error?.message ?? error), { type: String(error?.name ?? "Error") }];
    }
    clearTimeout(started);
    clearTimeout(expired);
    this.#running.delete(request);
    if (!request.cancelled) this.#send(engine, tag, answer);
  }

  #fail(engine, tag, code, executed, text) {
    this.#send(engine, tag, [wire.ERROR, code, executed, 1, text, null]);
  }

  // Its connection has ended, or it has said GOODBYE: nobody waits for what runs for it.
  #leave(key) {
    const engine = this.#engines.get(key);
    for (const request of this.#running) if (request.engine === engine) request.cancel();
    this.#engines.delete(key);
  }

  // A socket of zeromq.js takes one send at a time.
  #send(engine, tag, record) {
    this.#queue = this.#queue.then(() => this.socket.send([engine.route, ...wire.pack(tag, record)])).catch(() =>
      this.#leave(engine.route.toString("hex")));
  }
}
