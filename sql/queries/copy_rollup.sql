-- Candles of one instrument from one of the rollups, oldest first, in COPY BINARY. A row is the
-- open time and five float8 in whole ticks and lots. COPY takes no parameters: values are put in
-- by psycopg.sql.
copy (
    select time, open, high, low, close, volume
    from {rollup}
    where instrument_id = {instrument_id}
        and time >= {start}
        and time < {end}
    order by time
) to stdout (format binary)
