// A client of level 1 (docs/protocol.md, section 17): a session for each connection, nothing is sent again.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Dealer } from "zeromq";
import * as wire from "./wire.mjs";

const REDIAL = 500, GREETING = 5000; // ms to the next dial, and from a dial to WELCOME
const ENDS = ["disconnect", "connect:retry", "close", "handshake:error:protocol", "handshake:error:other"];

// NO: it has not run; YES: it has, once; UNKNOWN: one of both.
const failed = (why, executed, code) => Object.assign(new Error(`${why} (executed: ${executed})`), { executed, code });

export class Client {
  #waiting = new Set(); // calls that have not left
  #left = new Map(); // those that have, on the connection of now, by their tags
  #link = null; // the connection of now
  #running;
  #closed = false;

  constructor(endpoint, { name = "node", interval = 2 } = {}) {
    Object.assign(this, { endpoint, name, interval });
    this.#running = this.#run();
  }

  call(name, args = [], { kwargs = null, timeout = 30 } = {}) {
    return new Promise((resolve, reject) => {
      const ms = Math.min(timeout * 1000, wire.LONGEST);
      const call = { name, args, kwargs, tag: randomBytes(16), executed: "NO", resolve, reject };
      call.deadline = Date.now() + ms;
      call.timer = setTimeout(() => this.#giveUp(call, "its deadline has come"), ms);
      this.#waiting.add(call);
      if (this.#closed) this.#giveUp(call, "the client was closed");
      else this.#flush();
    });
  }

  async close() {
    this.#closed = true;
    this.#link.open = false;
    for (const call of [...this.#waiting, ...this.#left.values()]) this.#giveUp(call, "the client was closed");
    if (this.#link.most) this.#send(wire.LINK, wire.GOODBYE, wire.CLOSED, "the client was closed");
    this.#link.socket.close();
    await this.#running;
  }

  // One connection after the other, each with a socket and a session of its own.
  async #run() {
    for (; !this.#closed; await sleep(this.#closed ? 0 : REDIAL)) {
      const socket = new Dealer({ reconnectInterval: -1, linger: 200, receiveHighWaterMark: 0, sendTimeout: 0,
        heartbeatInterval: 1500, heartbeatTimeout: 5000, handshakeInterval: 3000, connectTimeout: 3000,
        maxMessageSize: wire.MESSAGE_BYTES });
      const link = (this.#link = { socket, number: 1, open: false, sequence: 0, answers: 0, sent: 0, read: 0 });
      const hello = [[wire.VERSION], wire.uuid(randomBytes(16)), link.number, this.name, this.interval, wire.LIMITS];
      socket.events.on("handshake", () => this.#send(wire.LINK, wire.HELLO, ...hello));
      for (const end of ENDS) socket.events.on(end, () => socket.close());
      const greeting = setTimeout(() => link.most || socket.close(), GREETING);
      socket.connect(this.endpoint);
      for await (const frames of socket) this.#receive(wire.read(frames));
      clearTimeout(greeting);
      link.open = false;
      for (const call of this.#left.values()) this.#giveUp(call, "the connection was lost");
    }
  }

  #receive({ kind, tag, wrong, ...fields }) {
    const link = this.#link;
    const call = this.#left.get(tag.toString("hex"));
    if (kind === wire.WELCOME && !link.most) this.#start(link, wrong, fields);
    else if (wrong) return;
    else if (kind === wire.PING) this.#send(wire.LINK, wire.PONG, fields.number, 0, 0);
    else if (kind === wire.PONG) link.read = Math.min(fields.messages, link.sent);
    else if (kind === wire.STARTED && call) call.executed = "YES";
    else if (kind === wire.GOODBYE) this.#stop(!link.most || fields.code !== wire.DRAINING);
    else if (kind === wire.RESPONSE || kind === wire.ERROR) this.#answered(call, kind, fields);
    this.#flush();
  }

  #start(link, wrong, { version, number, window, limits }) {
    if (wrong) this.#send(wire.LINK, wire.GOODBYE, wire.BAD_GREETING, `WELCOME is wrong: ${wrong}`);
    if (wrong) return this.#stop(true);
    if (version !== wire.VERSION || number !== link.number) return;
    const { in_flight = Infinity, reply_entries = 1024, reply_bytes = 8 << 20 } = limits;
    const most = Math.min(window[0] / 2, in_flight, reply_entries, Math.max(64, reply_bytes / 336));
    Object.assign(link, { open: true, most: Math.max(1, Math.floor(most)), window: window[0], limits, sent: 0 });
  }

  #answered(call, kind, { data, code, executed, message }) {
    if (kind === wire.RESPONSE && call) this.#end(call).resolve(data);
    if (kind === wire.ERROR && call)
      this.#end(call).reject(failed(message, ["NO", "UNKNOWN", "YES"][executed] ?? "UNKNOWN", code));
    if (code === wire.DRAINS || code === wire.NO_SESSION) this.#stop(code === wire.NO_SESSION);
    // Nothing is sent again: the container need keep no answer to what is below the next number.
    if (++this.#link.answers % 32 === 0)
      this.#send(wire.LINK, wire.RECEIVED, this.#link.sequence + 1, Buffer.alloc(0));
  }

  // Nothing new leaves on this connection. It goes on for what has left, or ends now.
  #stop(now) {
    this.#link.open = false;
    if (now) this.#link.socket.close();
  }

  // What waits leaves in its order, while the container has room for it.
  #flush() {
    const link = this.#link;
    for (const call of this.#waiting) {
      if (!link.open || this.#left.size >= link.most || link.sent - link.read >= link.window) return;
      const remaining = Math.max(1, Math.ceil(call.deadline - Date.now()));
      try {
        this.#send(call.tag, wire.REQUEST, ++link.sequence, remaining, 0, 3, call.name, call.args, call.kwargs, null);
        call.executed = "UNKNOWN";
        this.#waiting.delete(call);
        this.#left.set(call.tag.toString("hex"), call);
      } catch (error) {
        this.#end(call).reject(failed(error.message, "NO")); // it cannot be sent
      }
    }
  }

  #giveUp(call, why) {
    if (this.#left.has(call.tag.toString("hex"))) this.#send(call.tag, wire.CANCEL);
    this.#end(call).reject(failed(`${call.name}: ${why}`, call.executed));
    this.#flush();
  }

  #end(call) {
    clearTimeout(call.timer);
    this.#waiting.delete(call);
    this.#left.delete(call.tag.toString("hex"));
    return call;
  }

  #send(tag, ...record) {
    const { socket, limits } = this.#link;
    const frames = wire.write(tag, record, limits);
    this.#link.sent += 1;
    if (!socket.closed) socket.send(frames).catch(() => {}); // a lost connection tells so itself
  }
}
