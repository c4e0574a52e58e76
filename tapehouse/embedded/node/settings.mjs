/**
 * Settings of a client's session. All clients share one session inside: each one's SETs are kept here
 * and put back before its next statement, when another client's were in force.
 */

// As they are in force when nobody has set anything.
export const NO_SETTINGS = Object.freeze({ values: new Map(), authorization: null, role: null, key: "" });

/** SQL whose rows are what the session differs in from the defaults, see `readSettings`. */
export const CAPTURE =
  "SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session' " +
  "UNION ALL SELECT '', session_user::text UNION ALL SELECT '', pg_catalog.current_setting('role')";

/** The settings in the rows of `CAPTURE`. */
export function readSettings(rows, defaultUser) {
  const values = new Map(rows.filter(([name]) => name !== ""));
  const [user, role] = rows.filter(([name]) => name === "").map(([, value]) => value);
  return settingsOf(values, user === defaultUser ? null : user, role === "none" ? null : role);
}

/** SQL that puts these settings in force and takes all others back. */
export function applySql({ values, authorization, role }) {
  const statements = ["SET SESSION AUTHORIZATION DEFAULT", "RESET ALL"];
  for (const [name, value] of values) {
    statements.push(`SELECT pg_catalog.set_config(${literal(name)}, ${literal(value)}, false)`);
  }
  if (authorization !== null) statements.push(`SET SESSION AUTHORIZATION ${literal(authorization)}`);
  if (role !== null) statements.push(`SET ROLE ${literal(role)}`);
  return statements.join(";");
}

/** The settings a startup message asks for. */
export function startupSettings(parameters) {
  const values = new Map(readOptions(parameters.get("options") ?? ""));
  for (const [name, value] of parameters) {
    if (!NOT_SETTINGS.has(name) && !name.startsWith("_pq_.")) values.set(name, value);
  }
  return settingsOf(values, null, null);
}

// `application_name` is told back to the client and not set: else every change of client would cost a statement.
const NOT_SETTINGS = new Set(["user", "database", "options", "replication", "application_name"]);

function settingsOf(values, authorization, role) {
  const isDefault = values.size === 0 && authorization === null && role === null;
  const key = isDefault ? "" : JSON.stringify([[...values].sort(), authorization, role]);
  return { values, authorization, role, key };
}

/** The pairs in `-c name=value --name=value`, where a backslash keeps a blank. */
function readOptions(options) {
  const words = (options.match(/(?:\\[^]|[^\s\\])+/g) ?? []).map((word) => word.replace(/\\([^])/g, "$1"));
  const pairs = [];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] === "-c" ? words[++i] : words[i].replace(/^(--|-c)/, "");
    const [, name, value] = /^([^=]+)=(.*)$/s.exec(word ?? "") ?? [];
    if (name !== undefined) pairs.push([name.replaceAll("-", "_"), value]);
  }
  return pairs;
}

const literal = (text) => `'${text.replaceAll("'", "''")}'`;
