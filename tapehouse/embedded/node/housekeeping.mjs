/**
 * What a server's background processes would do and the engine, which has none, can't do without: checkpoints.
 * Else its write-ahead log would grow for as long as it is written to, and with it the time to recover.
 */

const LOOK_EVERY_MS = 5_000;
const MAX_LOG_BYTES = 128 * 1024 * 1024;

/** Look at the size of the log from time to time; only while clients use the engine. */
export function keepHouse(hub) {
  let seenRuns = hub.backend.runs;
  const look = async () => {
    if (hub.backend.runs !== seenRuns) {
      await hub.turnstile.enter(look);
      await checkpoint(hub);
      seenRuns = hub.backend.runs;
      hub.turnstile.leave();
    }
    setTimeout(look, LOOK_EVERY_MS);
  };
  setTimeout(look, LOOK_EVERY_MS);
}

async function checkpoint(hub) {
  const grown = `SELECT pg_current_wal_lsn() - redo_lsn > ${MAX_LOG_BYTES} FROM pg_control_checkpoint()`;
  const { rows } = await hub.query(grown);
  if (rows[0]?.[0] === "t") await hub.query("CHECKPOINT");
}
