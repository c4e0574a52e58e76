-- One row: of an instrument's snapshots in a range, how many there are, how many are crossed or locked, and the median
-- and the longest time from when one was received to the next, in seconds.
select
    count(*),
    count(*) filter (where bid > ask),
    count(*) filter (where bid = ask),
    percentile_cont(0.5) within group (order by since_s),
    max(since_s)
from (
    select
        bid_price[1] as bid,
        ask_price[1] as ask,
        extract(epoch from received_at - lag(received_at) over (order by time))::float8 as since_s
    from order_book
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
) as snapshot
