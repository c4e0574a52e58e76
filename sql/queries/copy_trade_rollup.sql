-- Candles of one instrument from one of the rollups of its trades, oldest first, in COPY BINARY. A row is the
-- open time and eight float8 in whole ticks, whole lots and a count. COPY takes no parameters: values are put in
-- by psycopg.sql.
copy (
    select time, open, high, low, close, volume, trades::float8, bought, sold
    from {trade_rollup}
    where instrument_id = {instrument_id}
        and time >= {start}
        and time < {end}
    order by time
) to stdout (format binary)
