-- Snapshots of order books, a row each: four arrays, best level first, in whole ticks and lots.

-- time is when the book was so, by the exchange's clock; received_at when we had it, by ours.
create table order_book (
    instrument_id integer not null,
    time          timestamptz not null,
    received_at   timestamptz not null,
    nonce         bigint,
    bid_price     float8[] not null,
    bid_amount    float8[] not null,
    ask_price     float8[] not null,
    ask_amount    float8[] not null,
    primary key (instrument_id, time)
);

select create_hypertable('order_book', by_range('time', interval '1 day'), create_default_indexes => false);

alter table order_book set (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'instrument_id',
    timescaledb.compress_orderby = 'time'
);

select add_compression_policy('order_book', compress_after => interval '1 day');
