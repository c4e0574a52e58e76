/**
 * One client: gathers its messages up to the point where it waits for an answer, takes its turn at the engine,
 * and leaves nothing of itself behind. What a text means is read in statements.mjs.
 */
import { randomInt } from "node:crypto";
import { AnswerFilter } from "./answers.mjs";
import { Batch } from "./batch.mjs";
import { refuse } from "./handshake.mjs";
import { CAPTURE, NO_SETTINGS, applySql, readSettings, startupSettings } from "./settings.mjs";
import { deallocateAll } from "./statements.mjs";
import * as wire from "./wire.mjs";

const IDLE_IN_TRANSACTION_MS = 60_000;
const STALLED_MS = 60_000;

export class Session {
  id;
  secret = randomInt(2 ** 31);
  /** Channels it listens on, by name. */
  channels = new Set();
  settings = NO_SETTINGS;
  #hub;
  #socket;
  #reader;
  #batch;
  #status = "I";
  #holds = false;
  #runs = false;
  #leftovers = { statements: false, temporary: false };
  #changes = { settings: false, channels: [] };
  #timer = null;

  constructor({ id, socket, reader, hub }) {
    this.id = id;
    this.#socket = socket;
    this.#reader = reader;
    this.#hub = hub;
    this.#batch = new Batch(id);
    reader.onEnd(() => this.#vanish());
  }

  /** Serve the client until it leaves. */
  async serve(parameters) {
    try {
      if (!(await this.#greet(parameters))) return;
      while (await this.#gather()) await this.#runBatch();
    } finally {
      clearTimeout(this.#timer);
      await this.#cleanUp();
      this.#socket.end();
    }
  }

  /** Cancel what the client waits for: out of the queue, or at the engine's next safe point. */
  cancel() {
    if (this.#runs) this.#hub.backend.interrupt();
    else this.#hub.turnstile.withdraw(this);
  }

  /** End the connection with a FATAL answer; an open transaction is rolled back. */
  terminate(code, text) {
    refuse(this.#socket, code, text);
    this.#reader.end();
  }

  /** Send bytes that belong to no answer. */
  send(bytes) {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  async #greet(parameters) {
    const asked = startupSettings(parameters);
    const reported = new Map(this.#hub.parameters);
    if (asked.key !== "") {
      const error = await this.#adoptStartup(asked);
      if (error) {
        refuse(this.#socket, error.get("C"), error.get("M"));
        return false;
      }
    }
    for (const name of reported.keys()) {
      const value = this.settings.values.get(name);
      if (value !== undefined) reported.set(name, value);
    }
    reported.set("application_name", parameters.get("application_name") ?? "");
    reported.set("tapehouse.engine", "pglite");
    const statuses = [...reported].map(([name, value]) => wire.parameterStatus(name, value));
    this.send(Buffer.concat([...statuses, wire.backendKeyData(this.id, this.secret), wire.readyForQuery("I")]));
    return true;
  }

  async #adoptStartup(asked) {
    await this.#enter();
    const { error } = await this.#hub.query(applySql(asked));
    if (!error) await this.#captureSettings();
    this.#leave();
    return error;
  }

  async #gather() {
    for (;;) {
      const bytes = await this.#reader.message();
      if (bytes === null || bytes[0] === wire.TERMINATE) return false;
      if (!this.#batch.add(bytes)) {
        this.terminate("08P01", `invalid frontend message type ${bytes[0]}`);
        return false;
      }
      if (this.#batch.isComplete) return true;
    }
  }

  async #runBatch() {
    clearTimeout(this.#timer);
    const batch = this.#batch.take();
    if (!this.#holds && !(await this.#enter())) return this.#answerCancelled(batch);
    if (this.#reader.vanished) return;
    await this.#adopt(batch);
    this.#note(batch);
    const filter = new AnswerFilter({
      onNotification: (bytes) => this.#hub.notifications.route(bytes, this),
      onError: (bytes) => bytes,
    });
    this.#status = null;
    this.#runs = true;
    await this.#hub.backend.run(batch.messages, (bytes, taken) => this.#forward(filter.feed(bytes), taken));
    this.#runs = false;
    this.#status = filter.status;
    if (this.#status === "I") await this.#settle(filter);
    else this.#timer = setTimeout(() => this.#idleTooLong(), this.#idleLimitMs());
  }

  async #enter() {
    this.#holds = await this.#hub.turnstile.enter(this);
    return this.#holds;
  }

  #leave() {
    this.#holds = false;
    this.#hub.turnstile.leave();
  }

  /** Make the shared session inside this client's own: its settings, its unnamed statement. */
  async #adopt(batch) {
    const { hub } = this;
    await this.#hub.putSettings(this.settings);
    if (batch.unnamed && this.#hub.unnamedOwner !== this) {
      await this.#hub.backend.collect([batch.unnamed, wire.sync()]);
    }
    if (batch.ownsUnnamed) this.#hub.unnamedOwner = this;
    if (batch.dropsUnnamed) this.#hub.unnamedOwner = null;
    return hub;
  }

  #note({ analyses }) {
    for (const analysis of analyses) {
      this.#changes.settings ||= analysis.settings;
      this.#leftovers.temporary ||= analysis.temporary;
      this.#changes.channels.push(...analysis.channels);
    }
    this.#leftovers.statements ||= this.#batch.namesStatements;
  }

  #forward(pieces, taken) {
    const filled = pieces.filter((piece) => piece.length > 0);
    if (filled.length === 0 || !this.#socket.writable) return taken();
    this.#socket.cork();
    filled.forEach((piece, i) => this.#socket.write(piece, i === filled.length - 1 ? taken : undefined));
    this.#socket.uncork();
  }

  /** Between transactions: see what the last one changed, then let the next client in. */
  async #settle({ lastTag, failed }) {
    const { settings, channels } = this.#changes;
    this.#changes = { settings: false, channels: [] };
    if (settings) await this.#captureSettings();
    if (channels.length > 0 && !failed && lastTag !== "ROLLBACK") await this.#hub.notifications.change(this, channels);
    this.#leave();
  }

  async #captureSettings() {
    const { rows } = await this.#hub.query(CAPTURE);
    this.settings = readSettings(rows, this.#hub.identity.user);
    this.#hub.settingsKey = this.settings.key;
  }
}
