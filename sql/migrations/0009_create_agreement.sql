-- How the exchange's 1m candles agree with those built from its trades.

-- A row is a UTC day of an instrument, over the minutes for which both were fetched; a minute without a trade
-- agrees with no candle, or one of no volume. volumes_compared is less than minutes where the units can't be
-- converted. largest_price_gap is the largest difference of a price over the exchange's price.
create table candle_agreement (
    instrument_id     integer not null references instrument,
    day               timestamptz not null,
    minutes           integer not null,
    differing         integer not null,
    open_differs      integer not null,
    high_differs      integer not null,
    low_differs       integer not null,
    close_differs     integer not null,
    volumes_compared  integer not null,
    volume_differs    integer not null,
    without_candle    integer not null,
    without_trades    integer not null,
    largest_price_gap float8 not null,
    checked_at        timestamptz not null default now(),
    primary key (instrument_id, day)
);
