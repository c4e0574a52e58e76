-- Remove an instrument's rows of a table that stand for a length of time from their own on, where they overlap a range.
delete from {table}
where instrument_id = %(instrument_id)s
    and time > %(start)s::timestamptz - %(length)s::interval
    and time < %(end)s
