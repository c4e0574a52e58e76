-- A row is a time at which a portion of an instrument's rows begins, each of which holds about that many.
select distinct time
from (
    select time, row_number() over (order by time) as number
    from {table}
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
) as numbered
where mod(number, %(rows)s) = 0
order by time
