-- A row is a day of an instrument on which its candles were compared with its trades, the latest day first.
-- No exchange or symbol means all of them.
select
    i.exchange, i.symbol, a.day, a.minutes, a.differing, a.open_differs, a.high_differs, a.low_differs,
    a.close_differs, a.volumes_compared, a.volume_differs, a.without_candle, a.without_trades,
    a.largest_price_gap, a.checked_at
from candle_agreement a
join instrument i using (instrument_id)
where (%(exchange)s::text is null or i.exchange = %(exchange)s)
    and (%(symbol)s::text is null or i.symbol = %(symbol)s)
order by i.exchange, i.symbol, a.day desc
