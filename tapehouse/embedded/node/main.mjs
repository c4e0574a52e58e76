/**
 * The engine's process: the engine on this thread, its front end on another one.
 * Started by the supervisor as `node main.mjs '{"engineDir", "dataDir", "port"}'`.
 */
import fs from "node:fs";
import path from "node:path";
import { Worker } from "node:worker_threads";
import { Engine } from "./engine.mjs";

const MAX_UNSENT_BYTES = 8 * 1024 * 1024;

const config = JSON.parse(process.argv[2]);
// [0]: bytes of answers handed to the front end and not yet taken by a client's socket.
const unsent = new Int32Array(new SharedArrayBuffer(4));

const crash = (error) => {
  fs.writeSync(2, `The engine crashed: ${error?.stack ?? error}\n`);
  // An orderly exit waits for other threads; nothing of this process may outlive a broken engine.
  process.kill(process.pid, "SIGKILL");
};
process.on("uncaughtException", crash);
process.on("unhandledRejection", crash);

let runId = 0;
const post = (message, bytes) => {
  Atomics.add(unsent, 0, bytes.length);
  frontend.postMessage(message, [bytes.buffer]);
};
const emit = (bytes) => {
  post({ runId, bytes, done: false }, bytes);
  // A client that reads slowly slows its statement down instead of filling the memory.
  for (let held = Atomics.load(unsent, 0); held > MAX_UNSENT_BYTES; held = Atomics.load(unsent, 0)) {
    Atomics.wait(unsent, 0, held, 100);
  }
};

const engine = await Engine.open({
  engineDir: config.engineDir,
  pgdata: path.join(config.dataDir, "pgdata"),
  user: "tapehouse",
  database: "tapehouse",
  emit,
});
globalThis.interruptRun = (id) => engine.interrupt(id);

const frontend = new Worker(new URL("./frontend.mjs", import.meta.url), { workerData: { ...config, unsent } });
frontend.on("error", crash);
frontend.on("message", (message) => {
  if (message.close) return closeDown();
  runId = message.runId;
  engine.run(runId, message.bytes);
  const bytes = engine.rest();
  post({ runId, bytes, done: true }, bytes);
});

function closeDown() {
  engine.close();
  process.exit(0);
}
