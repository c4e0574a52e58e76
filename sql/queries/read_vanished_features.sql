-- One row: the stored seconds from start to end that are not among those given, as an array; NULL if there are none.
select array_agg(time)
from {table}
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
    and time <> all(%(time)s::timestamptz[])
