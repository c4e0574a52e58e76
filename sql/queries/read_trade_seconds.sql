-- One row: the seconds in which an instrument has trades, and what takers bought and sold in them, as arrays in the
-- same order; NULLs if there are none.
select array_agg(time order by time), array_agg(bought order by time), array_agg(sold order by time)
from (
    select
        time_bucket(interval '1 second', time) as time,
        coalesce(sum(amount) filter (where side = 1), 0) as bought,
        coalesce(sum(amount) filter (where side = -1), 0) as sold
    from trade
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
    group by 1
) as s
