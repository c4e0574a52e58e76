-- One row: of the newest candles of a series that open from start to end, so many, how many there are and the open
-- times of the first and the last; NULLs if there are none.
select count(*), min(time), max(time)
from (
    select time
    from ohlcv
    where instrument_id = %(instrument_id)s
        and timeframe_s = %(timeframe_s)s
        and time >= %(start)s
        and time < %(end)s
    order by time desc
    fetch first (%(most)s::bigint) rows only
) newest
