-- The same candles with ordinary prices and amounts, for people, psql and dashboards. Dividing
-- whole ticks by a power of ten gives exactly the float8 nearest to the exchange's decimal.

create view candle as
select
    i.exchange,
    i.symbol,
    o.timeframe_s,
    o.time,
    o.open / power(10::float8, i.price_decimals) as open,
    o.high / power(10::float8, i.price_decimals) as high,
    o.low / power(10::float8, i.price_decimals) as low,
    o.close / power(10::float8, i.price_decimals) as close,
    o.volume / power(10::float8, i.amount_decimals) as volume
from ohlcv o
join instrument i using (instrument_id);

create view candle_5m_view as
select
    i.exchange,
    i.symbol,
    c.time,
    c.open / power(10::float8, i.price_decimals) as open,
    c.high / power(10::float8, i.price_decimals) as high,
    c.low / power(10::float8, i.price_decimals) as low,
    c.close / power(10::float8, i.price_decimals) as close,
    c.volume / power(10::float8, i.amount_decimals) as volume,
    c.minutes
from candle_5m c
join instrument i using (instrument_id);

create view candle_15m_view as
select
    i.exchange,
    i.symbol,
    c.time,
    c.open / power(10::float8, i.price_decimals) as open,
    c.high / power(10::float8, i.price_decimals) as high,
    c.low / power(10::float8, i.price_decimals) as low,
    c.close / power(10::float8, i.price_decimals) as close,
    c.volume / power(10::float8, i.amount_decimals) as volume,
    c.minutes
from candle_15m c
join instrument i using (instrument_id);

create view candle_1h_view as
select
    i.exchange,
    i.symbol,
    c.time,
    c.open / power(10::float8, i.price_decimals) as open,
    c.high / power(10::float8, i.price_decimals) as high,
    c.low / power(10::float8, i.price_decimals) as low,
    c.close / power(10::float8, i.price_decimals) as close,
    c.volume / power(10::float8, i.amount_decimals) as volume,
    c.minutes
from candle_1h c
join instrument i using (instrument_id);

create view candle_4h_view as
select
    i.exchange,
    i.symbol,
    c.time,
    c.open / power(10::float8, i.price_decimals) as open,
    c.high / power(10::float8, i.price_decimals) as high,
    c.low / power(10::float8, i.price_decimals) as low,
    c.close / power(10::float8, i.price_decimals) as close,
    c.volume / power(10::float8, i.amount_decimals) as volume,
    c.minutes
from candle_4h c
join instrument i using (instrument_id);

create view candle_1d_view as
select
    i.exchange,
    i.symbol,
    c.time,
    c.open / power(10::float8, i.price_decimals) as open,
    c.high / power(10::float8, i.price_decimals) as high,
    c.low / power(10::float8, i.price_decimals) as low,
    c.close / power(10::float8, i.price_decimals) as close,
    c.volume / power(10::float8, i.amount_decimals) as volume,
    c.minutes
from candle_1d c
join instrument i using (instrument_id);
