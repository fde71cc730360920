// Serves a few functions: node serve.mjs [ENDPOINT]. SIGTERM drains.
import { setTimeout as sleep } from "node:timers/promises";
import { Container } from "./container.mjs";

const begun = new Map(), ended = new Map(); // how often `later` has, by its value
const add = (counts, value) => counts.set(value, (counts.get(value) ?? 0) + 1);

const container = new Container({
  invoke: (data) => data,
  add: (a, b) => a + b,
  fail: (text) => { throw new TypeError(text); },
  // What `mpzmq conformance` asks for beside them:
  echo: (value) => value,
  later: async (value, seconds, { signal }) => {
    add(begun, value);
    await sleep(seconds * 1000, null, { signal });
    add(ended, value);
    return value;
  },
  seen: (value) => [begun.get(value) ?? 0, ended.get(value) ?? 0],
  drain: () => void container.close(8),
});
console.log(await container.bind(process.argv[2] ?? "tcp://127.0.0.1:3010"));
process.on("SIGTERM", () => container.close(8));
