-- Write a batch of candles of one series, leaving identical rows alone. One row says how many were
-- inserted, how many changed, how many of the inserted lie before known_until, and the first and
-- last time written. The time range is given apart, so that only its chunks are looked at.
with incoming as (
    select *
    from unnest(
        %(time)s::timestamptz[], %(open)s::float8[], %(high)s::float8[], %(low)s::float8[],
        %(close)s::float8[], %(volume)s::float8[]
    ) as n (time, open, high, low, close, volume)
),

stored as (
    select time, open, high, low, close, volume
    from ohlcv
    where instrument_id = %(instrument_id)s
        and timeframe_s = %(timeframe_s)s
        and time between %(first)s and %(last)s
),

different as (
    select n.*, s.time is null as is_new
    from incoming n
    left join stored s using (time)
    where s.time is null
        or (n.open, n.high, n.low, n.close, n.volume) is distinct from (s.open, s.high, s.low, s.close, s.volume)
),

written as (
    insert into ohlcv (instrument_id, timeframe_s, time, open, high, low, close, volume)
    select %(instrument_id)s, %(timeframe_s)s, time, open, high, low, close, volume
    from different
    order by time
    on conflict (instrument_id, timeframe_s, time) do update
    set open = excluded.open,
        high = excluded.high,
        low = excluded.low,
        close = excluded.close,
        volume = excluded.volume
)

select
    count(*) filter (where is_new),
    count(*) filter (where not is_new),
    count(*) filter (where is_new and time < %(known_until)s),
    min(time),
    max(time)
from different
