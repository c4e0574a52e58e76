-- Trades, in whole ticks and lots, and what instruments and series must know for them.

-- What amounts of trades and order books count; amount_unit is of candles' volumes, and some
-- exchanges give candles in base units and trades in contracts. The next sync puts it right.
alter table instrument
    add column trade_unit text not null default 'base' check (trade_unit in ('base', 'contract'));

-- The longest id_text of a series' trades, in bytes: readers ask for so many (see docs/decisions/0008).
alter table series add column id_bytes smallint not null default 0;

-- trade_id is the exchange's id where that is a whole number; else it is 0 and id_text is the id
-- (see docs/decisions/0008). side is the taker's: 1 bought, -1 sold, 0 unknown.
create table trade (
    instrument_id integer not null,
    time          timestamptz not null,
    trade_id      bigint not null,
    price         float8 not null,
    amount        float8 not null,
    side          smallint not null check (side in (-1, 0, 1)),
    id_text       text not null default '',
    primary key (instrument_id, time, trade_id, id_text)
);

select create_hypertable('trade', by_range('time', interval '1 day'), create_default_indexes => false);

-- The primary key's columns are in segmentby and orderby, so upserts into compressed chunks work.
alter table trade set (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'instrument_id',
    timescaledb.compress_orderby = 'time, trade_id, id_text'
);

select add_compression_policy('trade', compress_after => interval '1 day');
