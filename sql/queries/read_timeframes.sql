-- A row is the length of a timeframe of which candles of an instrument were fetched; 0 stands for its trades.
select s.timeframe_s
from series s
join instrument i using (instrument_id)
join coverage c using (series_id)
where s.dataset in ('ohlcv', 'trade')
    and not isempty(c.covered)
    and i.exchange = %(exchange)s
    and i.symbol = %(symbol)s
order by s.timeframe_s
