-- Trades, order books and what is derived from them with ordinary prices and amounts, for people,
-- psql and dashboards.

create view trade_view as
select
    i.exchange,
    i.symbol,
    t.time,
    case when t.id_text = '' then t.trade_id::text else t.id_text end as trade_id,
    t.price / power(10::float8, i.price_decimals) as price,
    t.amount / power(10::float8, i.amount_decimals) as amount,
    case t.side when 1 then 'buy' when -1 then 'sell' else 'unknown' end as side
from trade t
join instrument i using (instrument_id);

-- A row is a level of a side of a snapshot; level 1 is the best.
create view order_book_view as
select
    i.exchange,
    i.symbol,
    o.time,
    o.received_at,
    l.side,
    l.level,
    l.price / power(10::float8, i.price_decimals) as price,
    l.amount / power(10::float8, i.amount_decimals) as amount
from order_book o
join instrument i using (instrument_id)
cross join lateral (
    select 'bid' as side, b.level, b.price, b.amount
    from unnest(o.bid_price, o.bid_amount) with ordinality as b (price, amount, level)
    union all
    select 'ask', a.level, a.price, a.amount
    from unnest(o.ask_price, o.ask_amount) with ordinality as a (price, amount, level)
) as l;

create view order_book_1s_view as
select
    i.exchange,
    i.symbol,
    f.time,
    f.bid_price / power(10::float8, i.price_decimals) as bid_price,
    f.bid_amount / power(10::float8, i.amount_decimals) as bid_amount,
    f.ask_price / power(10::float8, i.price_decimals) as ask_price,
    f.ask_amount / power(10::float8, i.amount_decimals) as ask_amount,
    f.mid / power(10::float8, i.price_decimals) as mid,
    f.spread / power(10::float8, i.price_decimals) as spread,
    f.microprice / power(10::float8, i.price_decimals) as microprice,
    f.bid_amount_5 / power(10::float8, i.amount_decimals) as bid_amount_5,
    f.ask_amount_5 / power(10::float8, i.amount_decimals) as ask_amount_5,
    f.bid_amount_20 / power(10::float8, i.amount_decimals) as bid_amount_20,
    f.ask_amount_20 / power(10::float8, i.amount_decimals) as ask_amount_20,
    f.bid_depth_5bp / power(10::float8, i.amount_decimals) as bid_depth_5bp,
    f.ask_depth_5bp / power(10::float8, i.amount_decimals) as ask_depth_5bp,
    f.imbalance_5bp,
    f.bid_depth_10bp / power(10::float8, i.amount_decimals) as bid_depth_10bp,
    f.ask_depth_10bp / power(10::float8, i.amount_decimals) as ask_depth_10bp,
    f.imbalance_10bp,
    f.bid_depth_25bp / power(10::float8, i.amount_decimals) as bid_depth_25bp,
    f.ask_depth_25bp / power(10::float8, i.amount_decimals) as ask_depth_25bp,
    f.imbalance_25bp,
    f.bid_depth_50bp / power(10::float8, i.amount_decimals) as bid_depth_50bp,
    f.ask_depth_50bp / power(10::float8, i.amount_decimals) as ask_depth_50bp,
    f.imbalance_50bp
from order_book_1s f
join instrument i using (instrument_id);

create view imbalance_view as
select
    i.exchange,
    i.symbol,
    m.time,
    m.book_imbalance_1s,
    m.book_imbalance_5s,
    m.book_imbalance_15s,
    m.book_imbalance_60s,
    m.trade_imbalance_1s,
    m.trade_imbalance_5s,
    m.trade_imbalance_15s,
    m.trade_imbalance_60s
from imbalance m
join instrument i using (instrument_id);

create view trade_candle_1s_view as
select
    i.exchange,
    i.symbol,
    c.time,
    c.open / power(10::float8, i.price_decimals) as open,
    c.high / power(10::float8, i.price_decimals) as high,
    c.low / power(10::float8, i.price_decimals) as low,
    c.close / power(10::float8, i.price_decimals) as close,
    c.volume / power(10::float8, i.amount_decimals) as volume,
    c.trades,
    c.bought / power(10::float8, i.amount_decimals) as bought,
    c.sold / power(10::float8, i.amount_decimals) as sold
from trade_candle_1s c
join instrument i using (instrument_id);

create view trade_candle_1m_view as
select
    i.exchange,
    i.symbol,
    c.time,
    c.open / power(10::float8, i.price_decimals) as open,
    c.high / power(10::float8, i.price_decimals) as high,
    c.low / power(10::float8, i.price_decimals) as low,
    c.close / power(10::float8, i.price_decimals) as close,
    c.volume / power(10::float8, i.amount_decimals) as volume,
    c.trades,
    c.bought / power(10::float8, i.amount_decimals) as bought,
    c.sold / power(10::float8, i.amount_decimals) as sold
from trade_candle_1m c
join instrument i using (instrument_id);
