-- What `tapehouse status` and the upkeep of the database go by, beyond what the server itself notes.

-- When runs last set out to bring a series up to the present, and the time before; null while none, or only one, has.
alter table series
    add column asked_at timestamptz,
    add column asked_before timestamptz;

-- Since when what is derived from a range is behind; ranges that were noted before, since this migration.
alter table stale_rollup add column noted_at timestamptz not null default now();
alter table stale_feature add column noted_at timestamptz not null default now();

-- The rejected rows of the last day are found without those of all years.
create index quarantine_time_idx on quarantine (coalesce(time, first_seen_at));

-- A row is a job of the server that tapehouse runs where the server does not: how its last run went. TimescaleDB
-- notes only runs of its own. error is null where it went well; failed counts the failures since one did.
create table job_run (
    job_id       integer primary key,
    started_at   timestamptz not null,
    finished_at  timestamptz not null,
    succeeded_at timestamptz,
    failed       integer not null default 0,
    error        text
);
