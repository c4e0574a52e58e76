/**
 * PGlite with TimescaleDB, opened on a data directory. What runs on it belongs in engine.mjs.
 */
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

/** Open the data directory with that user and database; a new one only has postgres and template1. */
export async function openPglite({ engineDir, pgdata, user, database }) {
  const { PGlite, NodeFS, timescaledb } = await importPglite(engineDir);
  return PGlite.create({
    fs: durable(new NodeFS(pgdata)),
    username: user,
    database,
    extensions: { timescaledb },
  });
}

async function importPglite(engineDir) {
  const dist = path.join(engineDir, "node_modules", "@unni-craftsman", "pglite", "dist");
  const load = (file) => import(pathToFileURL(path.join(dist, file)).href);
  const [{ PGlite }, { NodeFS }, { timescaledb }] = await Promise.all([
    load("index.js"),
    load("fs/nodefs.js"),
    load("timescaledb/index.js"),
  ]);
  return { PGlite, NodeFS, timescaledb };
}

/** Make PostgreSQL's fsync reach the disk: as built, it does nothing, and a power cut could lose commits. */
function durable(nodeFs) {
  const init = nodeFs.init.bind(nodeFs);
  nodeFs.init = async (pg, options) => {
    const initialised = await init(pg, options);
    initialised.emscriptenOpts.preRun.push((mod) => {
      mod.FS.filesystems.NODEFS.stream_ops.fsync = (stream) => {
        if (stream.nfd !== undefined) fs.fdatasyncSync(stream.nfd);
        return 0;
      };
    });
    return initialised;
  };
  return nodeFs;
}
