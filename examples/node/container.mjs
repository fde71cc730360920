// A container of level 1 (docs/protocol.md, section 17): it keeps no answers, and says so with every WELCOME.
import { randomBytes, randomInt } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Router } from "zeromq";
import * as wire from "./wire.mjs";

const WINDOW = [256, 256 * wire.MESSAGE_BYTES]; // room for the largest, so that only messages have to be counted

export class Container {
  #engines = new Map(); // by routing id: who has said HELLO there
  #instance = wire.uuid(randomBytes(16));
  #draining = false;
  #socket = new Router({ mandatory: true, linger: 200, sendHighWaterMark: 4096, receiveHighWaterMark: 0, sendTimeout: 0,
    heartbeatInterval: 5000, heartbeatTimeout: 5000, handshakeInterval: 3000, maxMessageSize: wire.MESSAGE_BYTES });

  constructor(functions, { name = "node" } = {}) {
    Object.assign(this, { functions, name });
  }

  async bind(endpoint) {
    await this.#socket.bind(endpoint);
    this.#serve();
    return this.#socket.lastEndpoint;
  }

  // Takes nothing new, and ends when what runs has ended and its answers were read, or when the time is over.
  async close(seconds = 0) {
    const end = Date.now() + seconds * 1000;
    const all = async (done) => {
      while (Date.now() < end && ![...this.#engines.values()].every(done)) await sleep(10);
    };
    this.#draining = true;
    this.#engines.forEach((engine) => this.#send(engine, wire.LINK, wire.GOODBYE, wire.DRAINING, "it drains"));
    await all((engine) => !engine.running.size);
    this.#engines.forEach((engine) => this.#send(engine, wire.LINK, wire.PING, (engine.asked = randomInt(1, 2 ** 32))));
    await all((engine) => !engine.asked);
    this.#engines.forEach((engine) => this.#send(engine, wire.LINK, wire.GOODBYE, wire.CLOSED, "it is closed"));
    this.#engines.forEach((engine) => this.#leave(engine));
    this.#socket.close();
  }

  async #serve() {
    for await (const [route, ...frames] of this.#socket) {
      const key = route.toString("hex");
      const engine = this.#engines.get(key);
      const size = frames.reduce((sum, frame) => sum + frame.length, 0);
      const done = engine
        ? this.#receive(engine, size, wire.read(frames))
        : this.#greet({ key, route, running: new Map(), messages: 0, bytes: 0 }, wire.read(frames));
      done.catch(console.error); // whatever it was, the others are served
    }
  }

  // Nothing runs for who has not said HELLO on this connection.
  async #greet(engine, { kind, tag, wrong, versions, session, number, limits }) {
    const turnAway = (code, text) => this.#send(engine, tag, wire.GOODBYE, code, text);
    if (kind === wire.REQUEST || kind === wire.PING) this.#refuse(engine, tag, wire.NO_SESSION, "no HELLO was read");
    if (kind !== wire.HELLO) return;
    if (wrong) return turnAway(wire.BAD_GREETING, `HELLO is wrong: ${wrong}`);
    if (!versions.includes(wire.VERSION)) return turnAway(wire.BAD_VERSION, `it speaks version ${wire.VERSION}`);
    Object.assign(engine, { session: session.data.join(), limits });
    this.#engines.forEach((other) => other.session === engine.session && this.#leave(other));
    this.#engines.set(engine.key, engine);
    const welcome = [wire.VERSION, this.#instance, number, false, 1, this.name, 2, WINDOW, wire.LIMITS];
    this.#send(engine, tag, wire.WELCOME, ...welcome);
    if (this.#draining) turnAway(wire.DRAINING, "it drains");
  }

  async #receive(engine, size, { kind, tag, wrong, ...fields }) {
    const pong = (number) => this.#send(engine, wire.LINK, wire.PONG, number, engine.messages, engine.bytes);
    engine.bytes += size;
    if (++engine.messages % (WINDOW[0] / 4) === 0) pong(0); // so that the engine may go on
    if (kind === wire.REQUEST && wrong) this.#refuse(engine, tag, wire.MALFORMED, `it is wrong: ${wrong}`);
    else if (wrong) return;
    else if (kind === wire.REQUEST) await this.#run(engine, tag, fields);
    else if (kind === wire.CANCEL) engine.running.get(tag.toString("hex"))?.abort();
    else if (kind === wire.PING) pong(fields.number);
    else if (kind === wire.PONG && fields.number === engine.asked) engine.asked = 0;
    else if (kind === wire.GOODBYE) this.#leave(engine);
  }

  async #run(engine, tag, { remaining, op, function: name, args, kwargs }) {
    const called = { 0: "invoke", 3: name }[op];
    const key = tag.toString("hex");
    const left = Math.min(remaining ?? wire.LONGEST, wire.LONGEST);
    if (engine.running.has(key)) return; // it gets one answer
    if (op === 2) return this.#send(engine, tag, wire.RESPONSE, 1, null); // GETSTATE: it runs
    if (this.#draining) return this.#refuse(engine, tag, wire.DRAINS, "it drains");
    if (left <= 0) return this.#refuse(engine, tag, wire.EXPIRED, "it comes too late");
    if (!Object.hasOwn(this.functions, called))
      return this.#refuse(engine, tag, wire.UNSUPPORTED, `there is no function ${called}`);
    const stop = new AbortController(); // by CANCEL, by the end of the session, by its answer
    const { signal } = stop;
    const answer = (...record) => {
      if (signal.aborted) return;
      this.#send(engine, tag, ...record);
      stop.abort();
    };
    const fail = (code, text, detail) => answer(wire.ERROR, code, wire.YES, 1, text, detail);
    const after = (ms, act) => sleep(ms, null, { signal }).then(act, () => {});
    signal.addEventListener("abort", () => engine.running.delete(key));
    engine.running.set(key, stop);
    after(100, () => this.#send(engine, tag, wire.STARTED));
    after(left, () => fail(wire.EXPIRED, "its time is over", null));
    try {
      answer(wire.RESPONSE, 1, (await this.functions[called](...args, { ...kwargs, signal })) ?? null);
    } catch (error) { // of the function, or of its result, which cannot be sent
      fail(wire.REMOTE, String(error?.message ?? error).slice(0, 500), { type: String(error?.name).slice(0, 100) });
    }
  }

  #leave(engine) {
    this.#engines.delete(engine.key);
    engine.running.forEach((stop) => stop.abort());
  }

  #refuse(engine, tag, code, text) {
    this.#send(engine, tag, wire.ERROR, code, wire.NO, 1, text.slice(0, 500), null);
  }

  // A connection that takes nothing more is over.
  #send(engine, tag, ...record) {
    const frames = [engine.route, ...wire.write(tag, record, engine.limits)];
    if (!this.#socket.closed) this.#socket.send(frames).catch(() => this.#leave(engine));
  }
}
