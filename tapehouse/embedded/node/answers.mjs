/**
 * The engine's bytes, cut into messages again: what a client gets of them, and what the front end keeps.
 */

const HEADER_BYTES = 5;
const ofType = (letter) => letter.charCodeAt(0);
const TYPES = {
  notification: ofType("A"),
  commandComplete: ofType("C"),
  dataRow: ofType("D"),
  error: ofType("E"),
  ready: ofType("Z"),
};

const LOOKED_AT = new Set([TYPES.notification, TYPES.commandComplete, TYPES.error, TYPES.ready]);

/** Passes an answer on while it streams; only messages that concern the front end are looked at. */
export class AnswerFilter {
  /** Status of the last ReadyForQuery: I, T or E; null until there is one. */
  status = null;
  /** Tag of the last command that completed. */
  lastTag = null;
  failed = false;
  ready = null;
  #keepsReady;
  #onNotification;
  #onError;
  #carry = null;
  #skip = 0;

  /**
   * `onNotification(bytes)` and `onError(bytes)` say what goes in its place: bytes, or null for nothing.
   * With `keepsReady` the ReadyForQuery is left out, and is there as `ready` in the end.
   */
  constructor({ onNotification, onError, keepsReady }) {
    this.#onNotification = onNotification;
    this.#onError = onError;
    this.#keepsReady = keepsReady;
  }

  /** What of these bytes goes to the client, in order. */
  feed(bytes) {
    const input = this.#carry ? Buffer.concat([this.#carry, bytes]) : bytes;
    this.#carry = null;
    const output = [];
    let from = 0;
    let at = Math.min(this.#skip, input.length);
    this.#skip -= at;
    while (at < input.length) {
      const length = input.length - at < HEADER_BYTES ? Infinity : 1 + input.readInt32BE(at + 1);
      const end = at + length;
      const matters = length === Infinity || this.#matters(input[at]);
      if (end > input.length) {
        if (!matters) {
          this.#skip = end - input.length;
          break;
        }
        this.#carry = Buffer.from(input.subarray(at));
        output.push(input.subarray(from, at));
        return output;
      }
      if (matters) {
        const message = input.subarray(at, end);
        const instead = this.#look(message);
        if (instead !== message) {
          output.push(input.subarray(from, at));
          if (instead) output.push(instead);
          from = end;
        }
      }
      at = end;
    }
    output.push(input.subarray(from));
    return output;
  }

  #matters(type) {
    return LOOKED_AT.has(type);
  }

  #look(message) {
    switch (message[0]) {
      case TYPES.notification:
        return this.#onNotification(message);
      case TYPES.error:
        this.failed = true;
        return this.#onError(message);
      case TYPES.commandComplete:
        this.lastTag = message.latin1Slice(HEADER_BYTES, message.length - 1);
        return message;
      default:
        this.status = String.fromCharCode(message[HEADER_BYTES]);
        if (!this.#keepsReady) return message;
        this.ready = Buffer.from(message);
        return null;
    }
  }
}

/** The messages of a complete answer. */
export function* messagesOf(bytes) {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + bytes.readInt32BE(at + 1);
    yield bytes.subarray(at, end);
    at = end;
  }
}

export const isRow = (message) => message[0] === TYPES.dataRow;
export const isError = (message) => message[0] === TYPES.error;
export const isNotification = (message) => message[0] === TYPES.notification;
