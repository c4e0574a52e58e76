-- A row is the length of a timeframe of which an instrument has a candle series.
select s.timeframe_s
from series s
join instrument i using (instrument_id)
where s.dataset = 'ohlcv'
    and i.exchange = %(exchange)s
    and i.symbol = %(symbol)s
order by s.timeframe_s
