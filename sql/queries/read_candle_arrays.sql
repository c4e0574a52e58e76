-- One row: candles of one instrument as the exchange gave them, as arrays in whole ticks and lots, oldest first;
-- NULLs if there are none.
select
    array_agg(time order by time),
    array_agg(open order by time),
    array_agg(high order by time),
    array_agg(low order by time),
    array_agg(close order by time),
    array_agg(volume order by time)
from ohlcv
where instrument_id = %(instrument_id)s
    and timeframe_s = %(timeframe_s)s
    and time >= %(start)s
    and time < %(end)s
