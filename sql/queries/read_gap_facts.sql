-- One row: what decides where a series has gaps and why. What is covered and with how many rows, from when to when
-- anything was wanted or asked for, where the series begins, whether its instrument still trades and when it was listed last,
-- its last row if it does not, and what retention has dropped.
select
    c.covered,
    c.rows,
    least(lower(c.covered), u.first_at, s.wanted_from) as asked_from,
    greatest(upper(c.covered), u.last_at, s.wanted_until) as asked_until,
    s.begins_at,
    i.active,
    i.last_seen_at,
    case
        when i.active then null
        when s.dataset = 'ohlcv' then (
            select max(time) from ohlcv o where o.instrument_id = s.instrument_id and o.timeframe_s = s.timeframe_s
        )
        when s.dataset = 'trade' then (select max(time) from trade t where t.instrument_id = s.instrument_id)
    end as last_row_at,
    r.dropped_before,
    now()
from series s
join instrument i using (instrument_id)
join coverage c using (series_id)
cross join lateral (
    select min(lower(during)) as first_at, max(upper(during)) as last_at
    from unavailable
    where series_id = s.series_id
) u
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
where s.series_id = %(series_id)s
