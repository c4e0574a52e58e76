-- A row is an instrument and the steps of a window, from its start on, in which it has a candle of a rollup.
select instrument_id, array_agg(distinct time_bucket(%(step)s::interval, time, %(start)s::timestamptz)) as steps
from {rollup}
where instrument_id = any(%(instrument_ids)s)
    and time >= %(start)s
    and time < %(end)s
group by instrument_id
