// What both sides share: messages of one record each, and their fields (docs/protocol.md, sections 2 and 3).
import { ExtData } from "@msgpack/msgpack";
import { pack, unpack } from "./messagepack.mjs";

export const VERSION = 2;
export const LINK = Buffer.alloc(16); // the tag of records that belong to no request
export const MESSAGE_BYTES = 1 << 20; // what is larger travels in parts, which are level 3
export const LIMITS = { message_bytes: MESSAGE_BYTES, batch_records: 1, depth: 64, items: 100_000 };
export const LONGEST = 2 ** 31 - 1; // ms: a timer of more would fire at once

export const HELLO = 1, WELCOME = 2, REQUEST = 3, RESPONSE = 4, ERROR = 5, CANCEL = 6, PING = 7, PONG = 8, GOODBYE = 9,
  STARTED = 10, RECEIVED = 12;
export const NO = 0, YES = 2; // whether it has been executed
export const DRAINING = 1, CLOSED = 2, BAD_VERSION = 3, BAD_GREETING = 6; // codes of GOODBYE
export const NO_SESSION = 1, MALFORMED = 2, UNSUPPORTED = 3, DRAINS = 6, EXPIRED = 10, REMOTE = 11; // codes of ERROR

export const uuid = (bytes) => new ExtData(2, bytes);

const int = Number.isInteger;
const uint = (value) => int(value) && value >= 0;
const bool = (value) => typeof value === "boolean";
const text = (value) => typeof value === "string";
const seconds = (value) => Number.isFinite(value) && value > 0;
const array = Array.isArray;
const map = (value) => value instanceof Object && Object.getPrototypeOf(value) === Object.prototype;
const id = (value) => value instanceof ExtData && value.type === 2 && value.data.length === 16;
const any = (value) => value !== undefined;
const or_nil = (type) => (value) => value === null || type(value);
const limits = (value) => map(value) && Object.values(value).every((limit) => uint(limit) && limit > 0);
const uints = (value) => array(value) && value.every(uint);
const below = (end) => (value) => uint(value) && value < end;

const FIELDS = {
  [HELLO]: { versions: uints, session: id, number: uint, name: text, interval: seconds, limits },
  [WELCOME]: { version: int, instance: id, number: uint, resumed: bool, status: below(2), name: text, interval: seconds,
    window: (value) => uints(value) && value.length > 1 && !value.includes(0), limits },
  [REQUEST]: { sequence: int, remaining: or_nil(int), flags: int, op: int, function: or_nil(text), args: array,
    kwargs: or_nil(map), metadata: or_nil(map) },
  [RESPONSE]: { status: below(2), data: any },
  [ERROR]: { code: int, executed: below(3), status: below(2), message: text, detail: or_nil(map) },
  [CANCEL]: {},
  [PING]: { number: (value) => uint(value) && value > 0 },
  [PONG]: { number: uint, messages: uint, bytes: uint },
  [GOODBYE]: { code: int, text },
  [STARTED]: {},
};

const NAMED = [3, 5, 6, 7], WITHOUT_ARGS = [2, 4]; // operations that name a function, and those that take nothing

// What its op does not allow: a call of no function, or another number of arguments than one where there has to be one.
function misfit({ op, function: name, args }) {
  if (NAMED.includes(op)) return name === null ? "function" : undefined;
  return WITHOUT_ARGS.includes(op) || args.length === 1 ? undefined : "args";
}

// A record to the frames of its message. Throws where a value cannot be sent.
export function write(tag, record, limits = LIMITS) {
  const body = pack(record);
  const most = Math.max(4096, limits.message_bytes ?? MESSAGE_BYTES);
  if (tag.length + body.length > Math.min(most, MESSAGE_BYTES)) throw new RangeError("it is larger than one message");
  return [tag, body];
}

// The frames of a message to its record, by the names of its fields. `wrong` says what is wrong with it, if anything is;
// where nothing can be read there is no kind. What is behind the fields of the table is ignored.
export function read([tag, body, ...buffers]) {
  if (tag?.length !== LINK.length) return { tag: LINK, wrong: "its tag" };
  try {
    const [kind, ...values] = unpack(body, buffers);
    const types = Object.entries(FIELDS[kind] ?? {});
    const fields = Object.fromEntries(types.map(([name], index) => [name, values[index]]));
    const unfit = types.find(([name, fits]) => !fits(fields[name]))?.[0];
    return { kind, tag, wrong: unfit ?? (kind === REQUEST ? misfit(fields) : undefined), ...fields };
  } catch (error) {
    return { tag, wrong: error.message };
  }
}
