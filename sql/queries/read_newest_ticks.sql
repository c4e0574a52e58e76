-- One row: of the newest trades or snapshots of an instrument from start to end, so many and all of the first one's
-- time, how many there are and their first and last time; NULLs if there are none.
select count(*), min(time), max(time)
from (
    select time
    from {table}
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
    order by time desc
    fetch first (%(most)s::bigint) rows with ties
) newest
