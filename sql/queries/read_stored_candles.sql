-- One row: the candles of a series that open from first to last as arrays, a column each, in any order; NULLs
-- if there are none. Arrays are decoded without a Python object a candle.
select
    array_agg(time), array_agg(open), array_agg(high), array_agg(low), array_agg(close), array_agg(volume)
from ohlcv
where instrument_id = %(instrument_id)s
    and timeframe_s = %(timeframe_s)s
    and time between %(first)s and %(last)s
