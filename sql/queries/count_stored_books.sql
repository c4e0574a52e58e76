-- One row: how many of the snapshots of an instrument are stored.
select count(*)
from order_book
where instrument_id = %(instrument_id)s
    and time = any(%(time)s::timestamptz[])
