-- What an ingest or a backfill was to fetch of a series, from when to when, before it began to; null while there
-- was none. What it was stopped before is a gap then, and not outside of what anybody asked for.
alter table series
    add column wanted_from timestamptz,
    add column wanted_until timestamptz;
