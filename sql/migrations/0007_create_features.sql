-- What follows from order books and trades second by second; tapehouse.features has the formulas.

-- A row is a second [time, time + 1 s) in which a snapshot was taken, as the last of them shows it.
-- Prices are in ticks and amounts in lots, maybe fractional; imbalances lie from -1 to 1.
create table order_book_1s (
    instrument_id  integer not null,
    time           timestamptz not null,
    bid_price      float8 not null,
    bid_amount     float8 not null,
    ask_price      float8 not null,
    ask_amount     float8 not null,
    mid            float8 not null,
    spread         float8 not null,
    microprice     float8 not null,
    bid_amount_5   float8 not null,
    ask_amount_5   float8 not null,
    bid_amount_20  float8 not null,
    ask_amount_20  float8 not null,
    bid_depth_5bp  float8 not null,
    ask_depth_5bp  float8 not null,
    imbalance_5bp  float8,
    bid_depth_10bp float8 not null,
    ask_depth_10bp float8 not null,
    imbalance_10bp float8,
    bid_depth_25bp float8 not null,
    ask_depth_25bp float8 not null,
    imbalance_25bp float8,
    bid_depth_50bp float8 not null,
    ask_depth_50bp float8 not null,
    imbalance_50bp float8,
    primary key (instrument_id, time)
);

-- A row is a second [time, time + 1 s) with a snapshot or a trade; the windows of 1, 5, 15 and 60 s end with it.
create table imbalance (
    instrument_id       integer not null,
    time                timestamptz not null,
    book_imbalance_1s   float8,
    book_imbalance_5s   float8,
    book_imbalance_15s  float8,
    book_imbalance_60s  float8,
    trade_imbalance_1s  float8,
    trade_imbalance_5s  float8,
    trade_imbalance_15s float8,
    trade_imbalance_60s float8,
    primary key (instrument_id, time)
);

-- Ranges of trades or snapshots written since the features over them were last computed. A write adds
-- its range in its own transaction; a refresh removes what it has made good.
create table stale_feature (
    stale_id      bigint generated always as identity primary key,
    instrument_id integer not null,
    dataset       text not null check (dataset in ('trade', 'order_book')),
    during        tstzrange not null
);

create index on stale_feature (instrument_id);

select create_hypertable('order_book_1s', by_range('time', interval '7 days'), create_default_indexes => false);
select create_hypertable('imbalance', by_range('time', interval '7 days'), create_default_indexes => false);

alter table order_book_1s set (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'instrument_id',
    timescaledb.compress_orderby = 'time'
);
alter table imbalance set (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'instrument_id',
    timescaledb.compress_orderby = 'time'
);

select add_compression_policy('order_book_1s', compress_after => interval '2 days');
select add_compression_policy('imbalance', compress_after => interval '2 days');

select add_retention_policy('order_book_1s', drop_after => interval '1 year');
select add_retention_policy('imbalance', drop_after => interval '1 year');
