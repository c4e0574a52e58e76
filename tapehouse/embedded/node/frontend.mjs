/**
 * The front end's thread: a PostgreSQL server on 127.0.0.1 for as many clients as come, over the one engine.
 * It tells the supervisor its port by a line on stdout; the end of stdin, which the supervisor holds, means stop.
 */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { workerData } from "node:worker_threads";
import { shakeHands } from "./handshake.mjs";
import { keepHouse } from "./housekeeping.mjs";
import { Hub } from "./hub.mjs";
import { Reader } from "./reader.mjs";
import { deriveVerifier } from "./scram.mjs";
import { Session } from "./session.mjs";

const NAME = "tapehouse";
const STOP_MS = 8_000;

const { dataDir, port } = workerData;
const password = fs.readFileSync(path.join(dataDir, "password"), "utf8").trim();
const hub = new Hub({ user: NAME, database: NAME, verifier: deriveVerifier(password) });
const server = net.createServer({ noDelay: true }, (socket) => void serve(socket));
let lastId = 0;

await hub.prepare();
keepHouse(hub);
server.listen({ host: "127.0.0.1", port }, () => fs.writeSync(1, `${server.address().port}\n`));
// Read here, not by the engine's thread, which may be busy for long.
new net.Socket({ fd: 0, readable: true, writable: false }).on("end", stop).on("error", stop).resume();

async function serve(socket) {
  socket.on("error", () => socket.destroy());
  const reader = new Reader(socket);
  const parameters = await shakeHands({ reader, socket, identity: hub.identity, onCancel: cancel });
  if (!parameters) return void socket.end();
  const session = new Session({ id: ++lastId, socket, reader, hub });
  hub.add(session);
  await session.serve(parameters);
  hub.remove(session);
}

function cancel(id, secret) {
  const session = hub.session(id);
  if (session?.hasSecret(secret)) session.cancel();
}

function stop() {
  // Whatever hangs, the process ends: a killed engine recovers from its log at the next start.
  setTimeout(() => process.kill(process.pid, "SIGKILL"), STOP_MS);
  server.close();
  for (const session of hub.sessions()) {
    session.terminate("57P01", "terminating connection due to administrator command");
  }
  void hub.turnstile.enter(server).then(() => hub.backend.close());
}
