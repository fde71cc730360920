// The engine that `mpzmq conformance --listen` judges: node conform.mjs ENDPOINT
// The judge's `next` gives something to do, its `report` takes what came of it.
import { Client } from "./client.mjs";

const judge = new Client(process.argv[2] ?? "tcp://127.0.0.1:3010");
const clients = new Map(); // by endpoint: each check has one of its own

for (let job; (job = await judge.call("next", [], { timeout: 3600 })); ) perform(job);
await judge.close();

async function perform(job) {
  if (!clients.has(job.endpoint)) clients.set(job.endpoint, new Client(job.endpoint));
  const outcomes = await Promise.all(Array.from({ length: job.times }, () => outcome(clients.get(job.endpoint), job)));
  await judge.call("report", [job.id, outcomes]);
}

async function outcome(client, job) {
  try {
    if (job.do === "close") return (await client.close(), {});
    return { value: await client.call(job.function, job.args, { timeout: job.timeout }) };
  } catch (error) {
    return { error: error.message, executed: error.executed };
  }
}
