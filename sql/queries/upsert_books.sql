-- Write snapshots of one instrument, in the place of others of the same time; equal ones are left alone, as they were
-- known since the first. A snapshot's levels are a slice of those of all of the batch.
insert into order_book (instrument_id, time, received_at, nonce, bid_price, bid_amount, ask_price, ask_amount)
select
    %(instrument_id)s,
    time,
    received_at,
    nullif(nonce, -1),
    (%(bid_price)s::float8[])[first_bid:last_bid],
    (%(bid_amount)s::float8[])[first_bid:last_bid],
    (%(ask_price)s::float8[])[first_ask:last_ask],
    (%(ask_amount)s::float8[])[first_ask:last_ask]
from unnest(
    %(time)s::timestamptz[], %(received_at)s::timestamptz[], %(nonce)s::bigint[], %(first_bid)s::bigint[],
    %(last_bid)s::bigint[], %(first_ask)s::bigint[], %(last_ask)s::bigint[]
) as n (time, received_at, nonce, first_bid, last_bid, first_ask, last_ask)
on conflict (instrument_id, time) do update
set received_at = excluded.received_at,
    nonce = excluded.nonce,
    bid_price = excluded.bid_price,
    bid_amount = excluded.bid_amount,
    ask_price = excluded.ask_price,
    ask_amount = excluded.ask_amount
where (order_book.bid_price, order_book.bid_amount, order_book.ask_price, order_book.ask_amount)
    is distinct from (excluded.bid_price, excluded.bid_amount, excluded.ask_price, excluded.ask_amount)
