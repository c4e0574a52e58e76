/**
 * The beginning of a connection: encryption refused, cancel requests, protocol and password checked.
 */
import { MAX_STARTUP_BYTES } from "./reader.mjs";
import { MECHANISM, beginExchange } from "./scram.mjs";
import * as wire from "./wire.mjs";

const AUTH_OK = 0;
const AUTH_SASL = 10;
const AUTH_SASL_CONTINUE = 11;
const AUTH_SASL_FINAL = 12;

/** The startup parameters of a client that gave the password; null if the connection goes no further. */
export async function shakeHands({ reader, socket, identity, onCancel }) {
  const parameters = await readStartup({ reader, socket, onCancel });
  if (!parameters) return null;
  const user = parameters.get("user") ?? "";
  const proven = await proveIdentity({ reader, socket, verifier: identity.verifier });
  if (!proven || user !== identity.user) {
    refuse(socket, "28P01", `password authentication failed for user "${user}"`);
    return null;
  }
  const database = parameters.get("database") ?? user;
  if (database !== identity.database) {
    refuse(socket, "3D000", `database "${database}" does not exist: there is only "${identity.database}"`);
    return null;
  }
  socket.write(wire.authentication(AUTH_OK));
  return parameters;
}

/** End a connection with the ordinary FATAL answer. */
export function refuse(socket, code, text) {
  socket.end(wire.errorResponse("FATAL", code, text));
}

async function readStartup({ reader, socket, onCancel }) {
  for (;;) {
    const body = await reader.startupMessage();
    if (!body) return null;
    const code = body.readInt32BE(0);
    if (code === wire.SSL_REQUEST || code === wire.GSSENC_REQUEST) {
      socket.write("N");
      continue;
    }
    if (code === wire.CANCEL_REQUEST) {
      if (body.length === 12) onCancel(body.readInt32BE(4), body.readInt32BE(8));
      return null;
    }
    if (code >> 16 !== wire.PROTOCOL_3 >> 16) {
      refuse(socket, "0A000", "unsupported frontend protocol: only 3.0 is spoken here");
      return null;
    }
    const parameters = wire.readStartupParameters(body.subarray(4));
    if (code !== wire.PROTOCOL_3) socket.write(negotiateVersion());
    return parameters;
  }
}

/** A newer client is told that we speak 3.0. */
function negotiateVersion() {
  return wire.message("v", wire.int32(wire.PROTOCOL_3), wire.int32(0));
}

async function proveIdentity({ reader, socket, verifier }) {
  socket.write(wire.authentication(AUTH_SASL, Buffer.concat([wire.cString(MECHANISM), Buffer.alloc(1)])));
  const initial = await readPasswordMessage(reader);
  if (!initial) return false;
  // The mechanism's name, the length of the data, the data (RFC 5802's client-first-message).
  const mechanism = initial.toString("utf8", 5, 5 + MECHANISM.length);
  const data = initial.toString("utf8", 10 + MECHANISM.length);
  const exchange = mechanism === MECHANISM ? beginExchange(verifier, data) : null;
  if (!exchange) return false;
  socket.write(wire.authentication(AUTH_SASL_CONTINUE, Buffer.from(exchange.serverFirst)));
  const final = await readPasswordMessage(reader);
  const serverFinal = final && exchange.verify(final.toString("utf8", 5));
  if (!serverFinal) return false;
  socket.write(wire.authentication(AUTH_SASL_FINAL, Buffer.from(serverFinal)));
  return true;
}

async function readPasswordMessage(reader) {
  const bytes = await reader.message(MAX_STARTUP_BYTES);
  return bytes?.[0] === 0x70 ? bytes : null;
}
