/**
 * Makes the template of a data directory: role and database `tapehouse` with the TimescaleDB extension.
 * Run once after the engine is installed; every new data directory is a copy of it.
 */
import { openPglite } from "./pglite.mjs";

const [engineDir, pgdata] = process.argv.slice(2);

const bare = await openPglite({ engineDir, pgdata, user: "postgres", database: "template1" });
await bare.exec("CREATE ROLE tapehouse SUPERUSER LOGIN");
await bare.exec("CREATE DATABASE tapehouse OWNER tapehouse");
await bare.close();

const database = await openPglite({ engineDir, pgdata, user: "tapehouse", database: "tapehouse" });
await database.exec("CREATE EXTENSION timescaledb");
await database.exec("CHECKPOINT");
await database.close();
