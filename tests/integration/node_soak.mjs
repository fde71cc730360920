// Calls note(0, JOURNAL), note(1, JOURNAL), ... and writes what became of each as a line of JSON: [number, outcome, executed].
// The class Client comes from the copy of examples/node that the test has installed.
import { pathToFileURL } from "node:url";

const [folder, endpoint, count, journal] = process.argv.slice(2);
const { Client } = await import(pathToFileURL(`${folder}/client.mjs`));
const client = new Client(endpoint);
const calls = [];
for (let number = 0; number < Number(count); number += 1) {
  const call = client.call("note", [number, journal], { timeout: 20 });
  calls.push(call.then(
    (value) => console.log(JSON.stringify([number, value === number ? "answered" : "wrong", "YES"])),
    (error) => console.log(JSON.stringify([number, error.constructor.name, error.executed]))));
  if (number % 10 === 9) await new Promise((resolve) => setTimeout(resolve, 5));
}
await Promise.all(calls);
await client.close();
