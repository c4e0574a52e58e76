-- Write candles of one series in the place of those stored at the same times.
insert into ohlcv (instrument_id, timeframe_s, time, open, high, low, close, volume)
select %(instrument_id)s, %(timeframe_s)s, time, open, high, low, close, volume
from unnest(
    %(time)s::timestamptz[], %(open)s::float8[], %(high)s::float8[], %(low)s::float8[],
    %(close)s::float8[], %(volume)s::float8[]
) as n (time, open, high, low, close, volume)
on conflict (instrument_id, timeframe_s, time) do update
set open = excluded.open,
    high = excluded.high,
    low = excluded.low,
    close = excluded.close,
    volume = excluded.volume
