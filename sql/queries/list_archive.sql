-- A row is a verified file of the archive: which series, from when to when, where and what it is, and whether its rows
-- are stored nowhere else; with only_stored, of those of which that is not so.
select
    i.exchange,
    i.symbol,
    s.dataset,
    lower(a.during) as start,
    upper(a.during) as "end",
    a.path,
    a.rows,
    a.sha256,
    a.verified_at,
    coalesce(upper(a.during) <= r.dropped_before, false) as is_dropped
from archive a
join series s using (series_id)
join instrument i using (instrument_id)
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where a.verified_at is not null
    and (not %(only_stored)s or r.dropped_before is null or upper(a.during) > r.dropped_before)
order by i.exchange, i.symbol, array_position(array['ohlcv', 'trade', 'order_book'], s.dataset), a.during
