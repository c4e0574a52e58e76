/**
 * One client: gathers its messages up to the point where it waits for an answer, takes its turn at the engine,
 * and leaves nothing of itself behind. What a text means is read in statements.mjs.
 */
import { randomInt } from "node:crypto";
import { AnswerFilter } from "./answers.mjs";
import { Batch } from "./batch.mjs";
import { refuse } from "./handshake.mjs";
import { CAPTURE, NO_SETTINGS, readSettings, startupSettings } from "./settings.mjs";
import { deallocateAll } from "./statements.mjs";
import * as wire from "./wire.mjs";

const IDLE_IN_TRANSACTION_MS = 60_000;
// A client that takes nothing of its answer for that long is let go: its statement holds up all others.
const STALLED_MS = 60_000;

export class Session {
  id;
  /** Channels it listens on, by name. */
  channels = new Set();
  settings = NO_SETTINGS;
  #secret = randomInt(2 ** 31);
  #hub;
  #socket;
  #reader;
  #batch;
  #applicationName = "";
  #reported = new Map();
  #status = "I";
  #holds = false;
  #runs = false;
  #leaves = false;
  #timedOut = false;
  #skipsToSync = false;
  #leftovers = { temporary: false, locks: false };
  #changes = noChanges();
  #timer = null;

  constructor({ id, socket, reader, hub }) {
    this.id = id;
    this.#socket = socket;
    this.#reader = reader;
    this.#hub = hub;
    this.#batch = new Batch(id);
    reader.onVanish(() => this.cancel());
  }

  /** Serve the client until it leaves. */
  async serve(parameters) {
    try {
      if (!(await this.#greet(parameters))) return;
      while (await this.#gather()) await this.#runBatch();
    } finally {
      this.#leaves = true;
      clearTimeout(this.#timer);
      this.#socket.end();
      await this.#cleanUp();
    }
  }

  /** Whether a cancel request with that key comes from the client. */
  hasSecret(secret) {
    return secret === this.#secret;
  }

  /** Cancel what the client waits for: out of the queue, or at the engine's next safe point. */
  cancel() {
    if (this.#leaves) return;
    if (this.#runs) this.#hub.backend.interrupt();
    else this.#hub.turnstile.withdraw(this);
  }

  /** End the connection with a FATAL answer; an open transaction is rolled back. */
  terminate(code, text) {
    refuse(this.#socket, code, text);
    this.#reader.end();
    this.cancel();
  }

  /** Send bytes that belong to no answer. */
  send(bytes) {
    if (this.#socket.writable) this.#socket.write(bytes);
  }

  /** Whether notifications of that channel go to the client, be it by a LISTEN of the transaction that now runs. */
  listensOn(channel) {
    const last = this.#changes.channels.findLast((change) => change.channel === channel);
    return last ? last.listens : this.channels.has(channel);
  }

  async #greet(parameters) {
    const error = await this.#adoptStartup(startupSettings(parameters));
    if (error) {
      refuse(this.#socket, error.get("C"), error.get("M"));
      return false;
    }
    this.#applicationName = parameters.get("application_name") ?? "";
    this.#report();
    this.send(Buffer.concat([wire.backendKeyData(this.id, this.#secret), wire.readyForQuery("I")]));
    return true;
  }

  /** Tell the client of the reported parameters that are new to it: the engine does so only once, when it starts. */
  #report() {
    const current = new Map([...this.#hub.parameters, ["application_name", this.#applicationName]]);
    for (const [name, standard] of current) {
      const value = this.settings.values.get(name) ?? standard;
      if (this.#reported.get(name) === value) continue;
      this.#reported.set(name, value);
      this.send(wire.parameterStatus(name, value));
    }
  }

  async #adoptStartup(asked) {
    if (asked.key === NO_SETTINGS.key) return null;
    await this.#enter();
    const error = await this.#hub.putSettings(asked);
    if (!error) await this.#captureSettings();
    this.#leave();
    return error;
  }

  async #gather() {
    while (!this.#batch.isComplete) {
      const bytes = await this.#reader.message();
      if (bytes === null || bytes[0] === wire.TERMINATE) return false;
      try {
        this.#batch.add(bytes);
      } catch (error) {
        this.terminate("08P01", error.message);
        return false;
      }
    }
    return true;
  }

  async #runBatch() {
    clearTimeout(this.#timer);
    const batch = this.#batch.take();
    if (this.#skipsToSync) return this.#skip(batch);
    if (!this.#holds && !(await this.#enter())) return this.#answerCancelled(batch);
    await this.#adopt(batch);
    if (this.#reader.vanished) return;
    this.#note(batch.analyses);
    const filter = new AnswerFilter({
      onNotification: (bytes) => this.#hub.notifications.route(bytes, this),
      onError: (bytes) => this.#explain(bytes),
      // Who is told that its SET or LISTEN is done may rely on it at once.
      keepsReady: this.#changes.settings || this.#changes.channels.length > 0,
    });
    this.#status = null;
    this.#runs = true;
    const limit = this.#limitStatement();
    await this.#hub.backend.run(batch.messages, (bytes, taken) => this.#forward(filter.feed(bytes), taken));
    clearTimeout(limit);
    this.#runs = false;
    this.#status = filter.status;
    if (this.#status === "I") await this.#settle(filter);
    else this.#awaitNext();
    if (filter.ready) this.send(filter.ready);
  }

  async #enter() {
    this.#holds = await this.#hub.turnstile.enter(this);
    return this.#holds;
  }

  #leave() {
    this.#holds = false;
    this.#hub.turnstile.leave();
  }

  /** Make the one session inside this client's own: its settings, its unnamed statement. */
  async #adopt({ unnamed, unnamedAfter }) {
    const error = await this.#hub.putSettings(this.settings);
    if (error) console.error(`The settings of client ${this.id} can't be put back: ${error.get("M")}`);
    if (unnamed && this.#hub.unnamedOwner !== this) {
      await this.#hub.backend.collect([unnamed, wire.sync()]);
      this.#hub.unnamedOwner = this;
    }
    if (unnamedAfter !== "same") this.#hub.unnamedOwner = unnamedAfter === "own" ? this : null;
  }

  #note(analyses) {
    for (const analysis of analyses) {
      this.#changes.settings ||= analysis.settings;
      this.#changes.channels.push(...analysis.channels);
      this.#leftovers.temporary ||= analysis.temporary;
      this.#leftovers.locks ||= analysis.locks;
    }
  }

  /** The engine's own timers don't run while it does: a statement's time limit is kept here. */
  #limitStatement() {
    this.#timedOut = false;
    const limitMs = this.#milliseconds("statement_timeout");
    if (limitMs === 0) return undefined;
    return setTimeout(() => {
      this.#timedOut = true;
      this.#hub.backend.interrupt();
    }, limitMs);
  }

  /** The engine takes every interruption for the user's. */
  #explain(bytes) {
    const isOurs = this.#timedOut && wire.readErrorFields(bytes).get("C") === "57014";
    return isOurs ? wire.errorResponse("ERROR", "57014", "canceling statement due to statement timeout") : bytes;
  }

  #forward(pieces, taken) {
    const filled = pieces.filter((piece) => piece.length > 0);
    if (filled.length === 0 || !this.#socket.writable) return taken();
    const stalled = setTimeout(() => this.#runs && this.#socket.destroy(), STALLED_MS);
    const done = () => {
      clearTimeout(stalled);
      taken();
    };
    this.#socket.cork();
    filled.forEach((piece, i) => this.#socket.write(piece, i === filled.length - 1 ? done : undefined));
    this.#socket.uncork();
  }

  /** Between transactions: see what the last one changed, then let the next client in. */
  async #settle({ lastTag, failed }) {
    const { settings, channels } = this.#changes;
    if (settings) await this.#captureSettings();
    if (channels.length > 0 && !failed && lastTag !== "ROLLBACK") await this.#hub.notifications.change(this, channels);
    this.#changes = noChanges();
    this.#leave();
  }

  async #captureSettings() {
    const { rows } = await this.#hub.query(CAPTURE);
    this.settings = readSettings(rows, this.#hub.identity.user);
    this.#hub.settingsAreNow(this.settings);
    this.#report();
  }

  /** What was cancelled before its turn: the rest of its pipeline goes with it, as after any error. */
  #answerCancelled(batch) {
    this.send(wire.errorResponse("ERROR", "57014", "canceling statement due to user request"));
    this.#skip(batch);
  }

  #skip({ endsIn }) {
    this.#skipsToSync = endsIn === "H" || endsIn === null;
    if (!this.#skipsToSync) this.send(wire.readyForQuery("I"));
  }

  /** A setting that is a duration; zero where it is not set. */
  #milliseconds(name) {
    return Number(this.settings.values.get(name) ?? 0);
  }

  /** A client that sits in a transaction holds everyone up. */
  #awaitNext() {
    const limitMs = this.#milliseconds("idle_in_transaction_session_timeout") || IDLE_IN_TRANSACTION_MS;
    const end = () => this.terminate("25P03", "terminating connection due to idle-in-transaction timeout");
    this.#timer = setTimeout(end, limitMs);
  }

  /** Leave the engine as if this client had never been there. */
  async #cleanUp() {
    const texts = [];
    if (this.#holds && this.#status === null) await this.#hub.backend.collect([wire.sync()]);
    if (this.#holds) texts.push("ROLLBACK");
    if (this.#batch.namesStatements) texts.push(deallocateAll(this.id));
    if (this.#leftovers.locks) texts.push(`SELECT pg_catalog.tapehouse_advisory_unlock_all(${this.id})`);
    if (this.#leftovers.temporary) texts.push("DISCARD TEMP");
    if (texts.length > 0 && !this.#holds) await this.#enter();
    for (const text of texts) await this.#hub.query(text);
    if (this.#holds) this.#leave();
  }
}

const noChanges = () => ({ settings: false, channels: [] });
