/**
 * What all clients share: the engine with its one session, the queue for it, and who is connected.
 */
import fs from "node:fs";
import { Backend } from "./backend.mjs";
import { Notifications } from "./notifications.mjs";
import { NO_SETTINGS, applySql } from "./settings.mjs";
import { Turnstile } from "./turnstile.mjs";
import { readStrings } from "./wire.mjs";

export class Hub {
  turnstile = new Turnstile();
  notifications = new Notifications(this);
  backend = new Backend({ onNotification: (bytes) => this.notifications.route(bytes) });
  /** Who gave the password to what; see scram.mjs for the verifier. */
  identity;
  /** What is reported to every client, as ParameterStatus. */
  parameters = new Map([["tapehouse.engine", "pglite"]]);
  /** The client whose unnamed statement the engine holds. */
  unnamedOwner = null;
  #settingsKey = NO_SETTINGS.key;
  #sessions = new Map();

  constructor(identity) {
    this.identity = identity;
  }

  /** Bring a freshly opened engine to where clients may use it. */
  async prepare() {
    for (const bytes of await this.backend.greet()) {
      const { strings: [name, value] } = readStrings(bytes, 5, 2);
      this.parameters.set(name, value);
    }
    await this.#must("RESET ALL; LOAD 'timescaledb'");
    const { rows } = await this.query("SELECT FROM pg_catalog.pg_proc WHERE proname = 'tapehouse_advisory_unlock_all'");
    if (rows.length > 0) return;
    const locks = fs.readFileSync(new URL("./advisory_locks.sql", import.meta.url), "utf8");
    await this.#must(`SET allow_system_table_mods = on; ${locks}; RESET ALL`);
  }

  sessions() {
    return this.#sessions.values();
  }

  session(id) {
    return this.#sessions.get(id);
  }

  add(session) {
    this.#sessions.set(session.id, session);
  }

  remove(session) {
    this.#sessions.delete(session.id);
  }

  /** Run a SQL text of our own, for the holder of the turnstile. */
  query(sql) {
    // A simple query drops the unnamed statement.
    this.unnamedOwner = null;
    return this.backend.query(sql);
  }

  async #must(sql) {
    const { error } = await this.query(sql);
    if (error) throw new Error(`The database can't be prepared: ${error.get("M")}`);
  }

  /** Put a client's settings in force, which costs nothing while all have the same; the error if there was one. */
  async putSettings(settings) {
    if (settings.key === this.#settingsKey) return null;
    const { error } = await this.query(applySql(settings));
    if (!error) this.#settingsKey = settings.key;
    return error ?? null;
  }

  /** Note that the client's statements left these settings in force. */
  settingsAreNow(settings) {
    this.#settingsKey = settings.key;
  }
}
