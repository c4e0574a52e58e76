/**
 * Wire messages of PostgreSQL's protocol 3.0: the bytes of those we send, and the fields of those we read.
 */

export const PROTOCOL_3 = 196608;
export const SSL_REQUEST = 80877103;
export const GSSENC_REQUEST = 80877104;
export const CANCEL_REQUEST = 80877102;
export const TERMINATE = 0x58;

const EMPTY = Buffer.alloc(0);

/** A message of that type with that body. */
export function message(type, ...parts) {
  const body = parts.map((part) => (typeof part === "string" ? cString(part) : part));
  const length = body.reduce((sum, part) => sum + part.length, 4);
  const header = Buffer.allocUnsafe(5);
  header.write(type, 0, "latin1");
  header.writeInt32BE(length, 1);
  return Buffer.concat([header, ...body], length + 1);
}

export const query = (sql) => message("Q", sql);
export const sync = () => message("S", EMPTY);
export const parameterStatus = (name, value) => message("S", name, value);
export const readyForQuery = (status) => message("Z", Buffer.from(status, "latin1"));
export const backendKeyData = (pid, secret) => message("K", int32(pid), int32(secret));
export const authentication = (code, data = EMPTY) => message("R", int32(code), data);

/** An ErrorResponse; severity is ERROR, or FATAL where the connection ends with it. */
export function errorResponse(severity, code, text, { hint } = {}) {
  const fields = { S: severity, V: severity, C: code, M: text, ...(hint && { H: hint }) };
  const parts = Object.entries(fields).map(([key, value]) => Buffer.concat([Buffer.from(key), cString(value)]));
  return message("E", ...parts, Buffer.alloc(1));
}

/** The zero-terminated strings of a message from `at` on, at most `count`, and where the rest begins. */
export function readStrings(bytes, at, count) {
  const strings = [];
  while (strings.length < count) {
    const end = bytes.indexOf(0, at);
    if (end < 0) throw new Error("a string of the message has no end");
    strings.push(bytes.latin1Slice(at, end));
    at = end + 1;
  }
  return { strings, at };
}

/** The name-value pairs of a startup message's body. */
export function readStartupParameters(body) {
  const parameters = new Map();
  const texts = body.toString("utf8").split("\0");
  for (let i = 0; i + 1 < texts.length && texts[i] !== ""; i += 2) parameters.set(texts[i], texts[i + 1]);
  return parameters;
}

/** The fields of an ErrorResponse, by their letter. */
export function readErrorFields(bytes) {
  const texts = bytes.toString("utf8", 5).split("\0").filter((text) => text !== "");
  return new Map(texts.map((text) => [text[0], text.slice(1)]));
}

/** The columns of a DataRow in text format; null where the value is. */
export function readRow(bytes) {
  const row = [];
  let at = 7;
  for (let count = bytes.readInt16BE(5); count > 0; count--) {
    const length = bytes.readInt32BE(at);
    at += 4;
    row.push(length < 0 ? null : bytes.toString("utf8", at, at + length));
    at += Math.max(length, 0);
  }
  return row;
}

/** A zero-terminated string. */
export function cString(text) {
  return Buffer.from(`${text}\0`, "utf8");
}

export function int32(value) {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
}
