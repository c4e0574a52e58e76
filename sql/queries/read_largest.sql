-- One row: an instrument's largest price and amount as ordinary values, in whatever it has stored.
select
    coalesce(max(price), 0) / power(10::float8, max(i.price_decimals)),
    coalesce(max(amount), 0) / power(10::float8, max(i.amount_decimals))
from instrument i
left join lateral (
    select max(high) as price, max(volume) as amount from ohlcv o where o.instrument_id = i.instrument_id
    union all
    select max(high), max(volume) from candle_1d c where c.instrument_id = i.instrument_id
    union all
    select max(price), max(amount) from trade t where t.instrument_id = i.instrument_id
    union all
    select max(high), max(volume) from trade_candle_1m c where c.instrument_id = i.instrument_id
    union all
    select max(l.price), max(l.amount)
    from order_book b
    cross join unnest(b.bid_price || b.ask_price, b.bid_amount || b.ask_amount) as l (price, amount)
    where b.instrument_id = i.instrument_id
) as stored on true
where i.instrument_id = %(instrument_id)s
