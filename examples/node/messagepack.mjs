// MessagePack as the wire has it: records of one frame, with large bytes in frames of their own.
import { decode, encode, ExtensionCodec } from "@msgpack/msgpack";

const LEVELS = 68;
const EXT = [-1, 1, 2]; // a time, a buffer, a UUID: all others are malformed

export const pack = (record) => Buffer.from(encode(record));

// Bytes to a record, or an error. Ext type 1 refers to the frames behind the record, in their order.
export function unpack(bytes, buffers) {
  if (skip(bytes, 0, LEVELS) !== bytes.length) throw new RangeError("there is more than one record");
  let used = 0;
  const codec = new ExtensionCodec();
  codec.register({ type: 1, encode: () => null, decode: (data) => {
    const [index] = [decode(data)].flat();
    if (index !== used || index >= buffers.length) throw new RangeError("no such buffer");
    return buffers[used++];
  } });
  const record = decode(bytes, { extensionCodec: codec });
  if (used !== buffers.length) throw new RangeError("a buffer is left over");
  return record;
}

// Where the value that begins at an offset ends. decode() believes each header: one of 3 bytes asks for 65,535 elements,
// in every level again, and one message of a stranger would take all memory. So what they announce is looked for before.
function skip(bytes, start, levels) {
  const head = bytes.readUInt8(start);
  let at = start + 1;
  let data = 0;
  let items = 0;
  const number = (size) => {
    at += size;
    return bytes.readUIntBE(at - size, size);
  };
  if (head < 0x80 || head >= 0xe0) data = 0; // small integers
  else if (head < 0x90) items = 2 * (head & 0x0f); // a small map, array, text
  else if (head < 0xa0) items = head & 0x0f;
  else if (head < 0xc0) data = head & 0x1f;
  else if (head < 0xc4) data = 0; // nil, false, true
  else if (head < 0xc7) data = number(1 << (head - 0xc4)); // bin
  else if (head < 0xca) data = number(1 << (head - 0xc7)) + 1; // ext
  else if (head < 0xcc) data = 4 << (head - 0xca); // float
  else if (head < 0xd4) data = 1 << (head & 0x03); // uint, int
  else if (head < 0xd9) data = 1 + (1 << (head - 0xd4)); // fixext
  else if (head < 0xdc) data = number(1 << (head - 0xd9)); // str
  else items = head < 0xde ? number(2 << (head - 0xdc)) : 2 * number(2 << (head - 0xde)); // array, map
  const ext = (head >= 0xc7 && head < 0xca) || (head >= 0xd4 && head < 0xd9);
  if (ext && !EXT.includes(bytes.readInt8(at))) throw new RangeError("an unknown ext type");
  at += data;
  if (levels === 0 || at > bytes.length) throw new RangeError("it is too deep, or not complete");
  for (; items > 0; items -= 1) at = skip(bytes, at, levels - 1);
  return at;
}
