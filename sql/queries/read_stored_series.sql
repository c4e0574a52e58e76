-- A row is a series of which anything is known or wanted: what of it is covered, how many rows it holds, how many were
-- rejected, and what its amounts count. No exchange or symbol means all of them.
select
    s.series_id,
    s.instrument_id,
    i.exchange,
    i.symbol,
    s.dataset,
    s.timeframe_s,
    coalesce(c.covered, '{}') as covered,
    coalesce(c.rows, 0) as rows,
    coalesce(c.rejected, 0) as rejected,
    s.revision,
    case s.dataset when 'ohlcv' then i.amount_unit else i.trade_unit end as amount_unit,
    i.from_sandbox,
    s.begins_at,
    s.wanted_from,
    s.wanted_until,
    case when not i.active then i.last_seen_at end as delisted_at,
    r.dropped_before,
    c.updated_at,
    extract(epoch from now() - c.updated_at)::float8 as age_s
from series s
join instrument i using (instrument_id)
left join coverage c using (series_id)
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where (%(exchange)s::text is null or i.exchange = %(exchange)s)
    and (%(symbol)s::text is null or i.symbol = %(symbol)s)
    -- One that was deleted stays as a row of the ledger.
    and (not isempty(c.covered) or c.rejected > 0 or coalesce(s.wanted_from, s.begins_at) is not null)
order by i.exchange, i.symbol, s.timeframe_s = 0, s.timeframe_s, s.dataset desc
