-- One row: the first time from start to end at which an instrument has a trade, a snapshot or a computed second; NULL
-- if there is none.
select min(time)
from (
    (
        select time
        from trade
        where instrument_id = %(instrument_id)s and time >= %(start)s and time < %(end)s
        order by time
        limit 1
    )
    union all
    (
        select time
        from order_book
        where instrument_id = %(instrument_id)s and time >= %(start)s and time < %(end)s
        order by time
        limit 1
    )
    union all
    (
        select time
        from order_book_1s
        where instrument_id = %(instrument_id)s and time >= %(start)s and time < %(end)s
        order by time
        limit 1
    )
    union all
    (
        select time
        from imbalance
        where instrument_id = %(instrument_id)s and time >= %(start)s and time < %(end)s
        order by time
        limit 1
    )
) as t
