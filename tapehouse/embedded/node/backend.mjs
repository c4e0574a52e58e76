/**
 * The engine as the front end's thread sees it: runs, statements of our own, interruption.
 * Only the holder of the turnstile may call it.
 */
import inspector from "node:inspector";
import { parentPort, workerData } from "node:worker_threads";
import { isError, isNotification, isRow, messagesOf } from "./answers.mjs";
import { message, query, readErrorFields, readRow } from "./wire.mjs";

export class Backend {
  #runId = 0;
  #run = null;
  #onNotification;

  /** `onNotification(bytes)` gets those that arrive while a statement of our own runs. */
  constructor({ onNotification }) {
    this.#onNotification = onNotification;
    parentPort.on("message", (part) => this.#receive(part));
  }

  /** How many runs there have been. */
  get runs() {
    return this.#runId;
  }

  /** Run these messages; `onBytes(bytes, taken)` gets the answer as it comes and calls `taken` once it is sent. */
  run(messages, onBytes) {
    const bytes = ownBuffer(messages);
    this.#runId++;
    return new Promise((resolve) => {
      this.#run = { onBytes, resolve };
      parentPort.postMessage({ runId: this.#runId, bytes }, [bytes.buffer]);
    });
  }

  /** Run a SQL text of our own: its rows as texts, and the fields of the error if there was one. */
  async query(sql) {
    const answer = await this.collect([query(sql)]);
    const rows = [];
    let error = null;
    for (const part of answer) {
      if (isRow(part)) rows.push(readRow(part));
      if (isError(part)) error ??= readErrorFields(part);
    }
    return { rows, error };
  }

  /** Run messages of our own: those of the answer, without notifications. */
  async collect(messages) {
    const pieces = [];
    await this.run(messages, (bytes, taken) => {
      pieces.push(bytes);
      taken();
    });
    const answer = [...messagesOf(Buffer.concat(pieces))];
    answer.filter(isNotification).forEach((bytes) => this.#onNotification(bytes));
    return answer.filter((part) => !isNotification(part));
  }

  /** Greet the engine as a client would: the ParameterStatus messages it answers. */
  async greet() {
    const answer = await this.collect([message("p", "unused")]);
    return answer.filter((part) => part[0] === 0x53);
  }

  /**
   * Interrupt what runs now, if anything. The engine's thread is inside of a synchronous call and reads no messages;
   * Node's inspector is what can still run a line of code there, at the next loop edge.
   */
  interrupt() {
    if (!this.#run) return;
    const session = new inspector.Session();
    session.connectToMainThread();
    session.post("Runtime.evaluate", { expression: `interruptRun(${this.#runId})` }, () => session.disconnect());
  }

  /** Close the engine for good; its process ends by itself. */
  close() {
    parentPort.postMessage({ close: true });
  }

  #receive({ bytes, done }) {
    const run = this.#run;
    if (done) this.#run = null;
    const taken = () => {
      Atomics.sub(workerData.unsent, 0, bytes.length);
      Atomics.notify(workerData.unsent, 0);
    };
    run.onBytes(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), taken);
    if (done) run.resolve();
  }
}

/** The messages in one buffer that may be handed to the other thread: small Buffers share theirs with others. */
function ownBuffer(messages) {
  const bytes = new Uint8Array(messages.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of messages) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
