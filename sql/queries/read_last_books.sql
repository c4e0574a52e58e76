-- A row is the last of an instrument's snapshots in a second, oldest first, in whole ticks and lots; nonce is -1 where
-- it has none. Found in one pass along the primary key: a search by times would be planned from statistics that a new
-- chunk does not have yet, and take minutes.
select time, received_at, coalesce(nonce, -1), bid_price, bid_amount, ask_price, ask_amount
from (
    select
        *,
        time_bucket(interval '1 second', time) as second,
        lead(time_bucket(interval '1 second', time)) over (order by time) as second_of_next
    from order_book
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
) as snapshot
where second_of_next is distinct from second
order by time
