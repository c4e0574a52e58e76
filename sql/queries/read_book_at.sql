-- The last snapshot of one instrument's order book up to a time, with at most so many levels a side, in whole ticks
-- and lots.
select
    time,
    received_at,
    nonce,
    bid_price[1:%(depth)s] as bid_price,
    bid_amount[1:%(depth)s] as bid_amount,
    ask_price[1:%(depth)s] as ask_price,
    ask_amount[1:%(depth)s] as ask_amount
from order_book
where instrument_id = %(instrument_id)s
    and time <= %(at)s
order by time desc
limit 1
