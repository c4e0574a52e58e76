-- How good each series was, day by day, and what exchanges changed about their markets.

-- A row is a UTC day of a series, as the last report found it (see tapehouse.quality). expected and known are
-- bars, of trades and order books seconds; judged says of how many bars or snapshots prices were looked at, stale,
-- outliers and crossed how many of these are suspicious. findings names the first of what was found, each as
-- [kind, start, end, count, detail].
create table quality (
    series_id  integer not null references series,
    day        timestamptz not null,
    expected   float8 not null,
    known      float8 not null,
    rows       bigint not null,
    gaps       integer not null,
    rejected   integer not null,
    compared   integer not null,
    differing  integer not null,
    judged     integer not null,
    stale      integer not null,
    outliers   integer not null,
    crossed    integer not null,
    cadence_s  float8,
    longest_s  float8,
    score      float8 not null check (score between 0 and 100),
    findings   json not null,
    checked_at timestamptz not null default now(),
    primary key (series_id, day)
);

-- The smallest step of amounts as the exchange announces it, as tick_size is of prices; null until the next sync.
alter table instrument add column lot_size float8;

-- A row is something that an exchange says otherwise of a market than before: a column of instrument, with its
-- value before and after. What is stored keeps its scale (see docs/decisions/0002). Markets new to the store are
-- told by first_seen_at.
create table listing_change (
    instrument_id integer not null references instrument,
    changed_at    timestamptz not null default now(),
    what          text not null,
    before        text,
    after         text,
    primary key (instrument_id, changed_at, what)
);
