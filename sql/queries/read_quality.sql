-- A row is a day of a series as the last report found it, by market, series and day; each condition that is null holds
-- for all.
select
    i.exchange, i.symbol, s.dataset, s.timeframe_s, q.day, q.expected, q.known, q.rows, q.gaps, q.rejected,
    q.compared, q.differing, q.judged, q.stale, q.outliers, q.crossed, q.cadence_s, q.longest_s, q.findings
from quality q
join series s using (series_id)
join instrument i using (instrument_id)
where q.day >= %(start)s
    and q.day < %(end)s
    and (%(series_id)s::integer is null or q.series_id = %(series_id)s)
    and (%(exchange)s::text is null or i.exchange = %(exchange)s)
    and (%(symbol)s::text is null or i.symbol = %(symbol)s)
    and (%(dataset)s::text is null or s.dataset = %(dataset)s)
    and (%(timeframe_s)s::integer is null or s.timeframe_s = %(timeframe_s)s)
order by i.exchange, i.symbol, s.dataset desc, s.timeframe_s, q.day
