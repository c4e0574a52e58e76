-- A row is a series: what of it is covered, how many rows it holds, how many were rejected, and what its amounts
-- count. No exchange or symbol means all of them.
select
    i.exchange,
    i.symbol,
    s.dataset,
    s.timeframe_s,
    coalesce(c.covered, '{}') as covered,
    case s.dataset
        when 'ohlcv' then (
            select count(*) from ohlcv o where o.instrument_id = s.instrument_id and o.timeframe_s = s.timeframe_s
        )
        when 'trade' then (select count(*) from trade t where t.instrument_id = s.instrument_id)
        when 'order_book' then (select count(*) from order_book b where b.instrument_id = s.instrument_id)
    end as rows,
    (select count(*) from quarantine q where q.series_id = s.series_id) as rejected,
    s.revision,
    case s.dataset when 'ohlcv' then i.amount_unit else i.trade_unit end as amount_unit,
    i.from_sandbox,
    r.dropped_before,
    c.updated_at
from series s
join instrument i using (instrument_id)
left join coverage c using (series_id)
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where (%(exchange)s::text is null or i.exchange = %(exchange)s)
    and (%(symbol)s::text is null or i.symbol = %(symbol)s)
order by i.exchange, i.symbol, s.timeframe_s = 0, s.timeframe_s, s.dataset desc
