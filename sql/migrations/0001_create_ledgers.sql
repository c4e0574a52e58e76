-- Instruments, series and the ledgers: what was fetched, what was refused, what was rejected,
-- which rollups are behind, and how far retention has gone.

-- One market of one exchange. Its prices are stored as whole multiples of 10^-price_decimals and
-- its amounts as whole multiples of 10^-amount_decimals, in float8 (see docs/decisions/0002).
create table instrument (
    instrument_id   integer generated always as identity primary key,
    exchange        text not null,
    symbol          text not null,
    base            text not null,
    quote           text not null,
    settle          text,
    kind            text not null check (kind in ('spot', 'swap', 'future', 'option')),
    contract_size   float8,
    amount_unit     text not null check (amount_unit in ('base', 'contract')),
    tick_size       float8,
    price_decimals  smallint not null check (price_decimals between 0 and 18),
    amount_decimals smallint not null check (amount_decimals between 0 and 18),
    active          boolean not null,
    -- The sandbox answered, not the exchange: its candles never mix with real ones.
    from_sandbox    boolean not null,
    first_seen_at   timestamptz not null default now(),
    last_seen_at    timestamptz not null default now(),
    raw             json not null,
    unique (exchange, symbol)
);

-- The unit of ingest, coverage and revision. timeframe_s is 0 for datasets without one and
-- 2592000 (30 days) for calendar months. revision grows with every write that changes what a
-- reader could already have seen.
create table series (
    series_id     integer generated always as identity primary key,
    instrument_id integer not null references instrument,
    dataset       text not null check (dataset in ('ohlcv', 'trade', 'order_book')),
    timeframe_s   integer not null check (timeframe_s >= 0),
    revision      bigint not null default 0,
    unique (instrument_id, dataset, timeframe_s)
) with (fillfactor = 50);

-- What of a series' time line was asked for and answered with usable rows, or with none.
create table coverage (
    series_id  integer primary key references series,
    covered    tstzmultirange not null default '{}',
    updated_at timestamptz not null default now()
) with (fillfactor = 50);

-- Ranges asked for that could not be had, and when to ask again.
create table unavailable (
    series_id   integer not null references series,
    during      tstzrange not null,
    cause       text not null,
    attempts    integer not null default 1,
    first_at    timestamptz not null default now(),
    last_at     timestamptz not null default now(),
    next_try_at timestamptz not null,
    primary key (series_id, during)
);

-- Rejected rows as they came, with the names of the checks they failed. The same row rejected
-- again is counted, not stored twice.
create table quarantine (
    quarantine_id bigint generated always as identity primary key,
    series_id     integer not null references series,
    time          timestamptz,
    reasons       text[] not null check (cardinality(reasons) > 0),
    raw           json not null,
    raw_md5       uuid not null,
    seen          integer not null default 1,
    first_seen_at timestamptz not null default now(),
    last_seen_at  timestamptz not null default now(),
    unique (series_id, raw_md5)
);

-- Ranges of 1m candles written since the rollups over them were last refreshed. A write adds its
-- range in its own transaction; a refresh removes what it has made good.
create table stale_rollup (
    stale_id      bigint generated always as identity primary key,
    instrument_id integer not null,
    during        tstzrange not null
);

create index on stale_rollup (instrument_id);

-- How far retention has gone: nothing older is stored, and nothing older may be written.
create table retention (
    dataset        text not null,
    timeframe_s    integer not null,
    dropped_before timestamptz not null,
    primary key (dataset, timeframe_s)
);
