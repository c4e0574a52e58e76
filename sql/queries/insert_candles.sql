-- Write a batch of candles of one series where none is stored: what a COPY does, for a server without one.
insert into ohlcv (instrument_id, timeframe_s, time, open, high, low, close, volume)
select %(instrument_id)s, %(timeframe_s)s, time, open, high, low, close, volume
from unnest(
    %(time)s::timestamptz[], %(open)s::float8[], %(high)s::float8[], %(low)s::float8[],
    %(close)s::float8[], %(volume)s::float8[]
) as n (time, open, high, low, close, volume)
