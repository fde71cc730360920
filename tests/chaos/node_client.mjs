// Calls note(0, JOURNAL, SECONDS), note(1, ...), ... and writes what became of each as a line of JSON: [number, outcome,
// executed]. The class Client comes from the copy of examples/node that was installed.
import { pathToFileURL } from "node:url";

const [folder, endpoint, calls, journal, width] = process.argv.slice(2);
const { Client } = await import(pathToFileURL(`${folder}/client.mjs`));
const client = new Client(endpoint);
let next = 0;

async function caller() {
  while (next < Number(calls)) {
    const number = next++;
    const told = await client.call("note", [number, journal, number % 10 ? 0.02 : 0.2]).then(
      (value) => [value === number ? "answered" : "wrong", "YES"],
      (error) => [error.executed ? "failed" : error.constructor.name, error.executed]);
    console.log(JSON.stringify([number, ...told]));
  }
}

await Promise.all(Array.from({ length: Number(width) }, caller));
await client.close();
