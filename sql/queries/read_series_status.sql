-- A row is a series: until when it is fetched, when runs set out to bring it up to the present, and what is wrong with
-- it: ranges that were asked for in vain and will be again, and how many rows of the last 24 hours were rejected,
-- beside how many that were not: of candles as many as can be there, of others as many as on average. What of
-- [first, stop) is not settled is a gap that can be closed. What is still to come of a series that is followed is lag
-- and no gap; order books, which are sampled, have none.
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
    case
        when s.dataset = 'order_book' then '{}'
        when u.hopeless is null then coalesce(c.covered, '{}')
        else c.covered + u.hopeless
    end as settled,
    greatest(least(s.wanted_from, lower(c.covered)), s.begins_at, r.dropped_before) as first,
    case
        when s.dataset <> 'order_book' then least(
            greatest(upper(c.covered), case when s.asked_before is null then s.wanted_until end),
            case when not i.active then i.last_seen_at end
        )
    end as stop,
    coalesce(u.failed, 0) as failed,
    coalesce(q.rejected, 0) as rejected_24h,
    case
        when q.rejected > 0 then (
            select coalesce(extract(epoch from sum(upper(part) - lower(part))), 0)
            from unnest(c.covered * tstzmultirange(tstzrange(now() - interval '24 hours', now()))) as part
        ) * case
            when s.timeframe_s > 0 then 1.0 / s.timeframe_s
            else (
                select c.rows / extract(epoch from sum(upper(part) - lower(part)))
                from unnest(c.covered * tstzmultirange(tstzrange(r.dropped_before, null))) as part
            )
        end
    end::float8 as rows_24h
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
        -- A time that is still to come is of the day on which it was told.
        and first_seen_at >= now() - interval '24 hours'
    group by series_id
) q using (series_id)
order by i.exchange, i.symbol, s.timeframe_s = 0, s.timeframe_s, s.dataset desc
