-- One row: candles of one instrument from one of the rollups, as read_candle_arrays.sql gives them.
select
    array_agg(time order by time),
    array_agg(open order by time),
    array_agg(high order by time),
    array_agg(low order by time),
    array_agg(close order by time),
    array_agg(volume order by time)
from {rollup}
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
