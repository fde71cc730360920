// Calls one function of a container: node call.mjs ENDPOINT FUNCTION [JSON ARGUMENT ...]
import { Client } from "./client.mjs";

const [endpoint, name, ...args] = process.argv.slice(2);
const client = new Client(endpoint);
try {
  console.log(JSON.stringify(await client.call(name, args.map((text) => JSON.parse(text)), { timeout: 10 })));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await client.close();
}
