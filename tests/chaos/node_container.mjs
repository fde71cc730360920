// Serves note(number, journal, seconds), which writes its number down, where a kill leaves it, and takes a moment.
// The class Container comes from the copy of examples/node that was installed.
import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const [folder, endpoint] = process.argv.slice(2);
const { Container } = await import(pathToFileURL(`${folder}/container.mjs`));
const container = new Container({
  note: async (number, journal, seconds) => {
    appendFileSync(journal, `${number}\n`);
    await sleep(seconds * 1000);
    return number;
  },
});
console.log(await container.bind(endpoint));
process.on("SIGTERM", () => container.close(8));
