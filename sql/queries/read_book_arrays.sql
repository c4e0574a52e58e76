-- One row: the last snapshot of one instrument's order book from `first` to `start`, and all after it up to the end,
-- as arrays: time, when it was received, nonce (-1 for none), and four of two dimensions in whole ticks and lots, each
-- cut or filled up with NaN to one depth; NULLs if there are none.
select
    array_agg(time order by time),
    array_agg(received_at order by time),
    array_agg(coalesce(nonce, -1) order by time),
    array_agg((bid_price || array_fill('NaN'::float8, array[%(depth)s::integer]))[1:%(depth)s] order by time),
    array_agg((bid_amount || array_fill('NaN'::float8, array[%(depth)s::integer]))[1:%(depth)s] order by time),
    array_agg((ask_price || array_fill('NaN'::float8, array[%(depth)s::integer]))[1:%(depth)s] order by time),
    array_agg((ask_amount || array_fill('NaN'::float8, array[%(depth)s::integer]))[1:%(depth)s] order by time)
from (
    (
        select *
        from order_book
        where instrument_id = %(instrument_id)s
            and time >= %(first)s
            and time <= %(start)s
        order by time desc
        limit 1
    )
    union all
    select *
    from order_book
    where instrument_id = %(instrument_id)s
        and time > %(start)s
        and time <= %(end)s
) as book
