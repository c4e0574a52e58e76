-- A row is the last of an instrument's snapshots in a second, oldest first, in whole ticks and lots; nonce is -1 where
-- it has none. Which they are is found by their times alone, so that no levels have to be sorted.
select time, received_at, coalesce(nonce, -1), bid_price, bid_amount, ask_price, ask_amount
from order_book
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
    and time in (
        select max(time)
        from order_book
        where instrument_id = %(instrument_id)s
            and time >= %(start)s
            and time < %(end)s
        group by time_bucket(interval '1 second', time)
    )
order by time
