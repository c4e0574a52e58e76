-- Candles of one instrument built from its trades, oldest first, in COPY BINARY: what trade_candle_1s and
-- trade_candle_1m hold where they are not behind. A row is the open time and eight float8 in whole ticks, whole
-- lots and a count. COPY takes no parameters: values are put in by psycopg.sql.
copy (
    select
        time_bucket({bar_s} * interval '1 second', time) as open_time,
        (array_agg(price order by time, trade_id, id_text))[1],
        max(price),
        min(price),
        (array_agg(price order by time, trade_id, id_text))[count(*)],
        sum(amount),
        count(*)::float8,
        coalesce(sum(amount) filter (where side = 1), 0),
        coalesce(sum(amount) filter (where side = -1), 0)
    from trade
    where instrument_id = {instrument_id}
        and time >= {start}
        and time < {end}
    group by 1
    order by 1
) to stdout (format binary)
