/**
 * The messages a client sends up to where it waits for an answer, as the engine may see them:
 * its prepared statements under names of its own, its texts rewritten where statements.mjs says so.
 */
import { analyse, engineName, rewrite } from "./statements.mjs";
import { message, readStrings } from "./wire.mjs";

// A pipeline without a Sync is handed on in pieces of this size.
const MAX_GATHERED_BYTES = 4 * 1024 * 1024;

const NO_NAME = "";

/** A client's messages being gathered, and what it has prepared. */
export class Batch {
  /** Whether the client ever prepared a statement under a name. */
  namesStatements = false;
  #clientId;
  #prepared = new Map();
  #gathered = empty();
  #bytes = 0;

  constructor(clientId) {
    this.#clientId = clientId;
  }

  /** Whether the client now waits for an answer. */
  isComplete = false;

  /** Take a message; raises an error if there is no such. */
  add(bytes) {
    const type = String.fromCharCode(bytes[0]);
    const translate = TRANSLATORS.get(type);
    if (!translate) throw new Error(`invalid frontend message type ${bytes[0]}`);
    // The engine never holds an answer back: with nothing before it a Flush has nothing to do, and psycopg ends in one.
    if (type === "H" && this.#gathered.messages.length === 0) return;
    const translated = translate.call(this, bytes);
    if (translated) this.#gathered.messages.push(translated);
    this.#bytes += bytes.length;
    const isEnd = ENDS.has(type);
    if (isEnd) this.#gathered.endsIn = type;
    this.isComplete = isEnd || this.#bytes > MAX_GATHERED_BYTES;
  }

  /**
   * The gathered messages; `analyses` of the texts they run, the client's unnamed statement as `unnamed`
   * if they use one that was parsed before, and `endsIn`, the type of the message they end in.
   */
  take() {
    const gathered = this.#gathered;
    this.#gathered = empty();
    this.#bytes = 0;
    this.isComplete = false;
    return gathered;
  }

  query(bytes) {
    const { strings } = readStrings(bytes, 5, 1);
    const analysis = this.#analyse(strings[0]);
    this.#gathered.analyses.push(analysis);
    this.#prepared.delete(NO_NAME);
    this.#gathered.unnamedAfter = "dropped";
    return analysis.edits.length === 0 ? bytes : message("Q", this.#rewritten(strings[0], analysis));
  }

  parse(bytes) {
    const { strings: [name, sql], at } = readStrings(bytes, 5, 2);
    const analysis = this.#analyse(sql);
    if (name !== NO_NAME) this.namesStatements = true;
    const isSame = name === NO_NAME && analysis.edits.length === 0;
    const translated = isSame
      ? bytes
      : message("P", latin1(engineName(this.#clientId, name)), this.#rewritten(sql, analysis), bytes.subarray(at));
    this.#prepared.set(name, { analysis, parse: name === NO_NAME ? translated : null });
    if (name === NO_NAME) this.#gathered.unnamedAfter = "own";
    return translated;
  }

  bind(bytes) {
    const { strings: [portal, name], at } = readStrings(bytes, 5, 2);
    const statement = this.#prepared.get(name);
    if (statement) this.#gathered.analyses.push(statement.analysis);
    if (name === NO_NAME) {
      this.#needUnnamed();
      return bytes;
    }
    return message("B", latin1(portal), latin1(engineName(this.#clientId, name)), bytes.subarray(at));
  }

  describe(bytes) {
    const { kind, name } = readTarget(bytes);
    if (kind === "P") return bytes;
    if (name !== NO_NAME) return message("D", latin1(`S${engineName(this.#clientId, name)}`));
    this.#needUnnamed();
    return bytes;
  }

  close(bytes) {
    const { kind, name } = readTarget(bytes);
    if (kind === "P") return bytes;
    this.#prepared.delete(name);
    if (name !== NO_NAME) return message("C", latin1(`S${engineName(this.#clientId, name)}`));
    this.#gathered.unnamedAfter = "dropped";
    return bytes;
  }

  #needUnnamed() {
    if (this.#gathered.unnamedAfter !== "own") this.#gathered.unnamed ??= this.#prepared.get(NO_NAME)?.parse ?? null;
  }

  #analyse(sql) {
    const analysis = analyse(sql);
    if (analysis.prepares) this.namesStatements = true;
    return analysis;
  }

  #rewritten(sql, { edits }) {
    return latin1(rewrite(sql, edits, this.#clientId));
  }
}

const asIs = (bytes) => bytes;
// Outside of a COPY the server ignores what belongs to one.
const ignored = () => null;
const TRANSLATORS = new Map(
  Object.entries({
    Q: Batch.prototype.query,
    P: Batch.prototype.parse,
    B: Batch.prototype.bind,
    D: Batch.prototype.describe,
    C: Batch.prototype.close,
    E: asIs,
    F: asIs,
    H: asIs,
    S: asIs,
    d: ignored,
    c: ignored,
    f: ignored,
  }),
);
const ENDS = new Set("QSHF");

const empty = () => ({ messages: [], analyses: [], unnamed: null, unnamedAfter: "same", endsIn: null });
const latin1 = (text) => Buffer.from(`${text}\0`, "latin1");

function readTarget(bytes) {
  return { kind: String.fromCharCode(bytes[5]), name: readStrings(bytes, 6, 1).strings[0] };
}
