/**
 * What the front end must know of a SQL text before the engine sees it: COPY FROM STDIN, which would crash the engine,
 * names of prepared statements, which all clients share, and statements that leave something behind in the session.
 * Texts are handled as latin1 so that every byte keeps its place; all that is looked for is ASCII.
 */

const WORTH_A_LOOK = new RegExp(
  String.raw`\b(copy|listen|unlisten|set|reset|discard|prepare|execute|deallocate|temp|temporary|set_config` +
    String.raw`|pg_(try_)?advisory_\w+)\b`,
  "i",
);
// Those that advisory_locks.sql has a counterpart for. Shared locks have none: they exclude nobody here.
const ADVISORY = /^pg_((?:try_)?advisory_(?:xact_)?lock|advisory_unlock(?:_all)?)$/;
const MAX_TOKENS = 64;
const MAX_CACHED = 1000;
const MAX_CACHED_LENGTH = 10_000;

const REFUSE_COPY_IN =
  "DO $tapehouse$BEGIN RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', " +
  "MESSAGE = 'The embedded database has no COPY FROM STDIN.', " +
  "HINT = 'Use INSERT ... SELECT FROM unnest($1::type[], ...) instead.'; END$tapehouse$";

/** SQL that drops the prepared statements of that client. */
export const deallocateAll = (clientId) => doBlock(deallocations(clientId));

const discardAll = (clientId) =>
  doBlock(`${deallocations(clientId)} PERFORM pg_catalog.tapehouse_advisory_unlock_all(${clientId});
    SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DISCARD PLANS;`);

const doBlock = (body) => `DO $tapehouse$DECLARE statement text; BEGIN ${body} END$tapehouse$`;

const deallocations = (clientId) =>
  `FOR statement IN SELECT name FROM pg_catalog.pg_prepared_statements
   WHERE pg_catalog.starts_with(name, '${clientId}/')
   LOOP EXECUTE pg_catalog.format('DEALLOCATE %I', statement); END LOOP;`;

/** How the engine knows a client's prepared statement; the unnamed one stays unnamed. */
export const engineName = (clientId, name) => (name === "" ? "" : `${clientId}/${name}`);

const NOTHING = Object.freeze({
  edits: [],
  channels: [],
  settings: false,
  temporary: false,
  prepares: false,
  locks: false,
});
const cache = new Map();

/**
 * What a SQL text does beyond its answer: `edits` of the text, `channels` it starts or stops listening on,
 * whether it changes `settings` of the session, makes `temporary` tables, `prepares` statements or takes
 * advisory `locks`.
 */
export function analyse(sql) {
  if (!WORTH_A_LOOK.test(sql)) return NOTHING;
  const known = cache.get(sql);
  if (known) return known;
  const found = { ...NOTHING, edits: [], channels: [], settings: /\bset_config\b/i.test(sql) };
  for (const statement of split(sql, found)) READERS.get(statement.tokens[0].word)?.(statement, found);
  found.edits.sort((one, other) => one.start - other.start);
  if (sql.length <= MAX_CACHED_LENGTH) {
    if (cache.size >= MAX_CACHED) cache.delete(cache.keys().next().value);
    cache.set(sql, found);
  }
  return found;
}

/** The text as the engine may see it on behalf of that client. */
export function rewrite(sql, edits, clientId) {
  let text = "";
  let at = 0;
  for (const edit of edits) {
    // Inside of what was replaced as a whole.
    if (edit.start < at) continue;
    text += sql.slice(at, edit.start) + edit.replacement(clientId);
    at = edit.end;
  }
  return text + sql.slice(at);
}

/** Reads a statement, by its first word. */
const READERS = new Map(Object.entries({
  copy({ tokens, start, end }, found) {
    const from = tokens.findIndex((token) => token.word === "from");
    // The grammar takes STDOUT for STDIN here.
    if (from < 0 || !["stdin", "stdout"].includes(tokens[from + 1]?.word)) return;
    found.edits.push({ start, end, replacement: () => REFUSE_COPY_IN });
  },
  listen({ tokens }, found) {
    if (tokens[1]) found.channels.push({ channel: tokens[1].name, listens: true });
  },
  unlisten({ tokens }, found) {
    if (tokens[1]) found.channels.push({ channel: tokens[1].name, listens: false });
  },
  set({ tokens }, found) {
    if (!["local", "transaction", "constraints"].includes(tokens[1]?.word)) found.settings = true;
  },
  reset(_statement, found) {
    found.settings = true;
  },
  discard({ tokens, start, end }, found) {
    if (tokens[1]?.word !== "all") return;
    found.settings = true;
    found.channels.push({ channel: "*", listens: false });
    found.edits.push({ start, end, replacement: discardAll });
  },
  prepare({ tokens }, found) {
    if (tokens[1]?.word === "transaction") return;
    found.prepares = true;
    rename(tokens[1], found);
  },
  execute({ tokens }, found) {
    rename(tokens[1], found);
  },
  explain({ tokens }, found) {
    const execute = tokens.findIndex((token) => token.word === "execute");
    if (execute > 0) rename(tokens[execute + 1], found);
  },
  deallocate({ tokens, start, end }, found) {
    const target = tokens[1]?.word === "prepare" ? tokens[2] : tokens[1];
    if (target?.word === "all") found.edits.push({ start, end, replacement: deallocateAll });
    else rename(target, found);
  },
  create({ tokens }, found) {
    if (tokens.slice(1, 4).some((token) => token.word === "temp" || token.word === "temporary")) found.temporary = true;
  },
}));

function rename(token, found) {
  if (token?.name === undefined) return;
  const { start, end, name } = token;
  found.edits.push({ start, end, replacement: (clientId) => `"${engineName(clientId, name).replaceAll('"', '""')}"` });
}

/** Have the front end's functions called, with the client as first argument. */
function lock(name, parenthesis, found) {
  found.locks = true;
  const [, called] = ADVISORY.exec(name.word);
  found.edits.push({ ...name, replacement: () => `tapehouse_${called}` });
  const separator = called.endsWith("_all") ? "" : ", ";
  found.edits.push({ ...parenthesis, replacement: (clientId) => `(${clientId}${separator}` });
}

/** The statements of a text: where each begins and ends, and its first tokens outside of parentheses. */
function split(sql, found) {
  const statements = [];
  let current = null;
  let previous = null;
  let depth = 0;
  for (const token of tokenize(sql)) {
    if (token.sign === "(" && ADVISORY.test(previous?.word)) lock(previous, token, found);
    previous = token;
    if (token.sign === ";" && depth === 0) {
      current = null;
      continue;
    }
    if (!current) statements.push((current = { start: token.start, end: token.end, tokens: [] }));
    current.end = token.end;
    if (token.sign === ")") depth = Math.max(0, depth - 1);
    if (depth === 0 && current.tokens.length < MAX_TOKENS) current.tokens.push(token);
    if (token.sign === "(") depth++;
  }
  return statements;
}

// In PostgreSQL's order of precedence: what is skipped first, then strings, names and signs.
const TOKEN = new RegExp(
  [
    /(?<space>\s+|--[^\n\r]*)/,
    /(?<comment>\/\*)/,
    /(?<escape>[eE]'[^'\\]*(?:(?:\\[^]|'')[^'\\]*)*')/,
    /(?<string>'[^']*(?:''[^']*)*')/,
    /(?<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)/,
    /(?<quoted>"[^"]*(?:""[^"]*)*")/,
    /(?<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)/,
    /(?<sign>[^])/,
  ]
    .map((part) => part.source)
    .join("|"),
  "y",
);

function* tokenize(sql) {
  let at = 0;
  while (at < sql.length) {
    TOKEN.lastIndex = at;
    const { groups, 0: text } = TOKEN.exec(sql);
    const start = at;
    at += text.length;
    if (groups.space) continue;
    if (groups.comment) at = commentEnd(sql, at);
    else if (groups.word) yield { start, end: at, word: text.toLowerCase(), name: text.toLowerCase() };
    else if (groups.quoted) yield { start, end: at, name: text.slice(1, -1).replaceAll('""', '"') };
    else if (groups.dollar) yield { start, end: (at = dollarEnd(sql, at, text)) };
    else if (groups.sign) yield { start, end: at, sign: text, ...(text === "*" && { name: "*" }) };
    else yield { start, end: at };
  }
}

function commentEnd(sql, at) {
  const edge = /\/\*|\*\//g;
  edge.lastIndex = at;
  for (let depth = 1; depth > 0; ) {
    const found = edge.exec(sql);
    if (!found) return sql.length;
    depth += found[0] === "/*" ? 1 : -1;
  }
  return edge.lastIndex;
}

function dollarEnd(sql, at, tag) {
  const end = sql.indexOf(tag, at);
  return end < 0 ? sql.length : end + tag.length;
}
