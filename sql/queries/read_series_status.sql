-- A row is a series: until when it is fetched, when runs set out to bring it up to the present, and what is wrong
-- with it: gaps that can be closed and the longest of them, ranges that were asked for in vain and will be again,
-- and how many rows of the last 24 hours were rejected, beside how many that were not. What is still to come of a
-- series that is followed is lag and no gap; order books, which are sampled, have none.
select
    i.exchange,
    i.symbol,
    s.dataset,
    s.timeframe_s,
    i.active as is_active,
    coalesce(c.rows, 0) as rows,
    coalesce(c.rejected, 0) as rejected,
    upper(c.covered) as covered_until,
    s.asked_at,
    s.asked_before,
    coalesce(g.gaps, 0) as gaps,
    lower(g.longest) as longest_gap_start,
    upper(g.longest) as longest_gap_end,
    coalesce(u.failed, 0) as failed,
    coalesce(q.rejected, 0) as rejected_24h,
    d.rows::float8 as rows_24h
from series s
join instrument i using (instrument_id)
left join coverage c using (series_id)
left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
left join (
    select
        series_id,
        count(*) filter (where cause in ('failed', 'rejected')) as failed,
        range_agg(during) filter (where cause not in ('failed', 'rejected')) as hopeless
    from unavailable
    where cause <> 'exchange_empty'
    group by series_id
) u using (series_id)
left join (
    select series_id, count(*) as rejected
    from quarantine
    where coalesce(time, first_seen_at) >= now() - interval '24 hours'
    group by series_id
) q using (series_id)
left join lateral (
    select
        greatest(least(s.wanted_from, lower(c.covered)), s.begins_at, r.dropped_before) as start,
        least(
            greatest(upper(c.covered), case when s.asked_before is null then s.wanted_until end),
            case when not i.active then i.last_seen_at end
        ) as stop
) w on s.dataset <> 'order_book'
left join lateral (
    select count(*) as gaps, (array_agg(gap order by upper(gap) - lower(gap) desc, gap))[1] as longest
    from unnest(tstzmultirange(tstzrange(w.start, w.stop)) - c.covered - coalesce(u.hopeless, '{}')) as gap
) g on w.start < w.stop
-- Of candles those that can be there in what is covered; else as many as of the series on average.
left join lateral (
    select
        case
            when s.timeframe_s > 0 then extract(epoch from day.covered) / s.timeframe_s
            else c.rows * extract(epoch from day.covered) / nullif(extract(epoch from whole.covered), 0)
        end as rows
    from (
        select coalesce(sum(upper(part) - lower(part)), interval '0') as covered
        from unnest(c.covered * tstzmultirange(tstzrange(now() - interval '24 hours', now()))) as part
    ) as day
    cross join (
        select sum(upper(part) - lower(part)) as covered
        from unnest(c.covered * tstzmultirange(tstzrange(r.dropped_before, null))) as part
    ) as whole
) d on q.rejected > 0
order by i.exchange, i.symbol, s.timeframe_s = 0, s.timeframe_s, s.dataset desc
