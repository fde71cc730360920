// What both sides share: messages of one record each (docs/protocol.md, sections 2 to 4).
import { decode, encode, ExtData, ExtensionCodec } from "@msgpack/msgpack";

export const VERSION = 2;
export const LINK = Buffer.alloc(16); // the tag of records that belong to no request
export const HELLO = 1, WELCOME = 2, REQUEST = 3, RESPONSE = 4, ERROR = 5, CANCEL = 6, PING = 7, PONG = 8,
  GOODBYE = 9, STARTED = 10, RECEIVED = 12;
export const LIMITS = { message_bytes: 1 << 20, batch_records: 1, depth: 64, items: 100_000 };

export const uuid = (bytes) => new ExtData(2, bytes);

export function pack(tag, record) {
  return [tag, Buffer.from(encode(record, { useBigInt64: false, forceIntegerToFloat: false }))];
}

// One message to [tag, record], or to null: what cannot be read is no record. Large bytes travel in frames of their
// own, to which ext type 1 refers by its index.
export function unpack([tag, body, ...buffers]) {
  const codec = new ExtensionCodec();
  codec.register({ type: 1, encode: () => null, decode: (data) => {
    const reference = decode(data);
    return buffers[Array.isArray(reference) ? reference[0] : reference];
  } });
  codec.register({ type: 2, encode: () => null, decode: (data) => Buffer.from(data) });
  try {
    const record = decode(body, { extensionCodec: codec });
    return tag.length === 16 && Array.isArray(record) && Number.isInteger(record[0]) ? [tag, record] : null;
  } catch {
    return null;
  }
}
