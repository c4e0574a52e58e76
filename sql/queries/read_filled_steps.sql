-- A row is an instrument and the steps of a window, from its start on, in which it has a candle of a timeframe.
select instrument_id, array_agg(distinct time_bucket(%(step)s::interval, time, %(start)s::timestamptz)) as steps
from ohlcv
where instrument_id = any(%(instrument_ids)s)
    and timeframe_s = %(timeframe_s)s
    and time >= %(start)s
    and time < %(end)s
group by instrument_id
