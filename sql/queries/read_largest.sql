-- One row: an instrument's largest price and amount as ordinary values, candles and daily rollups included.
select
    coalesce(max(high), 0) / power(10::float8, max(i.price_decimals)),
    coalesce(max(volume), 0) / power(10::float8, max(i.amount_decimals))
from instrument i
left join lateral (
    select max(high) as high, max(volume) as volume from ohlcv o where o.instrument_id = i.instrument_id
    union all
    select max(high), max(volume) from candle_1d c where c.instrument_id = i.instrument_id
) as stored on true
where i.instrument_id = %(instrument_id)s
