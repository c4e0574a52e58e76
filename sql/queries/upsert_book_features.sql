-- Write features of an instrument's order books, which lie from start to end, but those that are stored so already.
insert into order_book_1s (
    instrument_id, time,
    bid_price, bid_amount, ask_price, ask_amount, mid, spread, microprice, bid_amount_5, ask_amount_5, bid_amount_20,
    ask_amount_20, bid_depth_5bp, ask_depth_5bp, imbalance_5bp, bid_depth_10bp, ask_depth_10bp, imbalance_10bp,
    bid_depth_25bp, ask_depth_25bp, imbalance_25bp, bid_depth_50bp, ask_depth_50bp, imbalance_50bp
)
select
    %(instrument_id)s, time,
    bid_price, bid_amount, ask_price, ask_amount, mid, spread, microprice, bid_amount_5, ask_amount_5, bid_amount_20,
    ask_amount_20, bid_depth_5bp, ask_depth_5bp, nullif(imbalance_5bp, 'NaN'), bid_depth_10bp, ask_depth_10bp,
    nullif(imbalance_10bp, 'NaN'), bid_depth_25bp, ask_depth_25bp, nullif(imbalance_25bp, 'NaN'), bid_depth_50bp,
    ask_depth_50bp, nullif(imbalance_50bp, 'NaN')
from unnest(
    %(time)s::timestamptz[],
    %(bid_price)s::float8[], %(bid_amount)s::float8[], %(ask_price)s::float8[], %(ask_amount)s::float8[],
    %(mid)s::float8[], %(spread)s::float8[], %(microprice)s::float8[], %(bid_amount_5)s::float8[],
    %(ask_amount_5)s::float8[], %(bid_amount_20)s::float8[], %(ask_amount_20)s::float8[],
    %(bid_depth_5bp)s::float8[], %(ask_depth_5bp)s::float8[], %(imbalance_5bp)s::float8[],
    %(bid_depth_10bp)s::float8[], %(ask_depth_10bp)s::float8[], %(imbalance_10bp)s::float8[],
    %(bid_depth_25bp)s::float8[], %(ask_depth_25bp)s::float8[], %(imbalance_25bp)s::float8[],
    %(bid_depth_50bp)s::float8[], %(ask_depth_50bp)s::float8[], %(imbalance_50bp)s::float8[]
) as n (
    time,
    bid_price, bid_amount, ask_price, ask_amount, mid, spread, microprice, bid_amount_5, ask_amount_5, bid_amount_20,
    ask_amount_20, bid_depth_5bp, ask_depth_5bp, imbalance_5bp, bid_depth_10bp, ask_depth_10bp, imbalance_10bp,
    bid_depth_25bp, ask_depth_25bp, imbalance_25bp, bid_depth_50bp, ask_depth_50bp, imbalance_50bp
)
except
select
    instrument_id, time,
    bid_price, bid_amount, ask_price, ask_amount, mid, spread, microprice, bid_amount_5, ask_amount_5, bid_amount_20,
    ask_amount_20, bid_depth_5bp, ask_depth_5bp, imbalance_5bp, bid_depth_10bp, ask_depth_10bp, imbalance_10bp,
    bid_depth_25bp, ask_depth_25bp, imbalance_25bp, bid_depth_50bp, ask_depth_50bp, imbalance_50bp
from order_book_1s
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
on conflict (instrument_id, time) do update
set bid_price = excluded.bid_price,
    bid_amount = excluded.bid_amount,
    ask_price = excluded.ask_price,
    ask_amount = excluded.ask_amount,
    mid = excluded.mid,
    spread = excluded.spread,
    microprice = excluded.microprice,
    bid_amount_5 = excluded.bid_amount_5,
    ask_amount_5 = excluded.ask_amount_5,
    bid_amount_20 = excluded.bid_amount_20,
    ask_amount_20 = excluded.ask_amount_20,
    bid_depth_5bp = excluded.bid_depth_5bp,
    ask_depth_5bp = excluded.ask_depth_5bp,
    imbalance_5bp = excluded.imbalance_5bp,
    bid_depth_10bp = excluded.bid_depth_10bp,
    ask_depth_10bp = excluded.ask_depth_10bp,
    imbalance_10bp = excluded.imbalance_10bp,
    bid_depth_25bp = excluded.bid_depth_25bp,
    ask_depth_25bp = excluded.ask_depth_25bp,
    imbalance_25bp = excluded.imbalance_25bp,
    bid_depth_50bp = excluded.bid_depth_50bp,
    ask_depth_50bp = excluded.ask_depth_50bp,
    imbalance_50bp = excluded.imbalance_50bp
