-- Remove features of an instrument that lie from start to end.
delete from {table}
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
    and time = any(%(time)s::timestamptz[])
