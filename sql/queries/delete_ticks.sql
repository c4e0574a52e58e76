-- Remove the trades or snapshots of an instrument from start to end.
delete from {table}
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
