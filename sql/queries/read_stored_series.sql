-- A row is a candle series: what of it is covered, how many rows it holds, how many were rejected.
-- No exchange or symbol means all of them.
select
    i.exchange,
    i.symbol,
    s.dataset,
    s.timeframe_s,
    coalesce(c.covered, '{}') as covered,
    (
        select count(*)
        from ohlcv o
        where o.instrument_id = s.instrument_id and o.timeframe_s = s.timeframe_s
    ) as rows,
    (select count(*) from quarantine q where q.series_id = s.series_id) as rejected,
    s.revision,
    i.amount_unit,
    r.dropped_before,
    c.updated_at
from series s
join instrument i using (instrument_id)
left join coverage c using (series_id)
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where s.dataset = 'ohlcv'
    and (%(exchange)s::text is null or i.exchange = %(exchange)s)
    and (%(symbol)s::text is null or i.symbol = %(symbol)s)
order by i.exchange, i.symbol, s.timeframe_s
