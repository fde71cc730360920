// Serves a few functions: node serve.mjs [ENDPOINT]. SIGTERM drains.
import { setTimeout as sleep } from "node:timers/promises";
import { Container } from "./container.mjs";

const container = new Container({
  name: "node-example",
  functions: {
    invoke: (data) => data,
    add: (a, b) => a + b,
    later: async (value, seconds, { signal }) => (await sleep(seconds * 1000, null, { signal }), value),
    fail: (text) => { throw new TypeError(text); },
  },
});
console.log(await container.bind(process.argv[2] ?? "tcp://127.0.0.1:3010"));
process.on("SIGTERM", async () => {
  await container.drain(8);
  await container.close();
});
