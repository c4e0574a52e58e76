/**
 * The engine: one PostgreSQL session in WASM that takes wire messages and gives back bytes, one run at a time.
 * Who may speak to it, and when, is decided in frontend.mjs, on another thread.
 */
import { openPglite } from "./pglite.mjs";

// As built, the engine plans without sequential scans and looks only in pg_catalog: these are PostgreSQL's defaults.
const DEFAULTS = {
  search_path: '"$user", public',
  TimeZone: "UTC",
  log_min_messages: "warning",
  enable_seqscan: "on",
  exit_on_error: "off",
  allow_system_table_mods: "off",
  jit: "off",
};
// From PostgreSQL's guc.h: a source below SESSION also sets the value that RESET goes back to.
const PGC_SUSET = 5;
const PGC_S_DATABASE = 6;

// The build gives C code 64 KB of stack above its static data and checks no depth: sixty nested calls of a PL/pgSQL
// function would silently overwrite variables. With this much, JavaScript's own stack runs out first: the process ends.
const STACK_BYTES = 16 * 1024 * 1024;

const SCRATCH_BYTES = 256 * 1024;

export class Engine {
  #mod;
  #input = new Uint8Array(0);
  #inputAt = 0;
  #scratch = new Uint8Array(SCRATCH_BYTES);
  #scratchLength = 0;
  #emit = () => {};
  #running = 0;
  #interrupted = 0;

  /** Open the data directory; `emit` gets the answer's bytes in pieces of at most 256 KB, as they come. */
  static async open({ engineDir, pgdata, user, database, emit }) {
    const pglite = await openPglite({ engineDir, pgdata, user, database });
    const engine = new Engine();
    engine.#mod = pglite.Module;
    engine.#emit = emit;
    engine.#moveStack();
    engine.#connect();
    engine.#setDefaults();
    return engine;
  }

  /** Run a sequence of whole wire messages; what they answer is emitted before this returns. */
  run(runId, messages) {
    this.#running = runId;
    if (this.#interrupted === runId) this.#setInterrupt();
    try {
      for (let at = 0; at < messages.length; ) {
        const end = at + 1 + readInt32(messages, at + 1);
        this.#runOne(messages.subarray(at, end));
        at = end;
      }
    } finally {
      this.#running = 0;
      this.#clearInterrupt();
    }
  }

  /** The bytes not emitted yet. */
  rest() {
    const bytes = this.#scratch.slice(0, this.#scratchLength);
    this.#scratchLength = 0;
    return bytes;
  }

  /** Ask that run to stop at its next safe point, as PostgreSQL's signal handler would, also if it is yet to begin. */
  interrupt(runId) {
    this.#interrupted = runId;
    if (this.#running === runId) this.#setInterrupt();
  }

  /** Write everything to disk and end the session. */
  close() {
    const terminate = Uint8Array.of(0x58, 0, 0, 0, 4);
    try {
      this.#runOne(terminate);
      this.#mod._pgl_shutdown();
    } catch (error) {
      if (error?.name !== "ExitStatus" || error.status !== 0) throw error;
    }
    this.#mod.FS.quit();
  }

  #moveStack() {
    const bottom = this.#mod._malloc(STACK_BYTES);
    this.#mod.___stack_pointer.value = (bottom + STACK_BYTES) & ~15;
  }

  #connect() {
    const mod = this.#mod;
    const read = mod.addFunction((pointer, capacity) => this.#read(pointer, capacity), "iii");
    const write = mod.addFunction((pointer, length) => this.#write(pointer, length), "iii");
    mod._set_read_write_cbs(read, write);
  }

  #setDefaults() {
    for (const [name, value] of Object.entries(DEFAULTS)) {
      this.#mod._SetConfigOption(this.#cString(name), this.#cString(value), PGC_SUSET, PGC_S_DATABASE);
    }
  }

  #runOne(message) {
    this.#input = message;
    this.#inputAt = 0;
    this.#mod._interactive_one(message.length, message[0]);
  }

  #read(pointer, capacity) {
    const piece = this.#input.subarray(this.#inputAt, this.#inputAt + capacity);
    this.#mod.HEAPU8.set(piece, pointer);
    this.#inputAt += piece.length;
    return piece.length;
  }

  #write(pointer, length) {
    let at = pointer;
    const end = pointer + length;
    while (at < end) {
      const room = SCRATCH_BYTES - this.#scratchLength;
      const piece = this.#mod.HEAPU8.subarray(at, Math.min(end, at + room));
      this.#scratch.set(piece, this.#scratchLength);
      this.#scratchLength += piece.length;
      at += piece.length;
      if (this.#scratchLength === SCRATCH_BYTES) this.#emit(this.rest());
    }
    return length;
  }

  #setInterrupt() {
    this.#mod.HEAP32[this.#interruptPending] = 1;
    this.#mod.HEAP32[this.#interruptPending + 1] = 1;
  }

  #clearInterrupt() {
    this.#mod.HEAP32[this.#interruptPending + 1] = 0;
  }

  /** Where PostgreSQL keeps `InterruptPending`; `QueryCancelPending`, not exported, is right behind it (globals.c). */
  get #interruptPending() {
    return this.#mod._InterruptPending >> 2;
  }

  #cString(text) {
    const bytes = Buffer.from(`${text}\0`);
    const pointer = this.#mod._malloc(bytes.length);
    this.#mod.HEAPU8.set(bytes, pointer);
    return pointer;
  }
}

function readInt32(bytes, at) {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}
