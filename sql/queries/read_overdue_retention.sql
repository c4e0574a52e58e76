-- A row is a dataset of those that are not kept for good: how many chunks hold rows that its retention should have
-- dropped, since when, the time from which on it must drop nothing, since what is derived from it is behind, and
-- whether it drops only what is archived.
select
    k.dataset,
    count(c.chunk_name) as overdue,
    -- What is written long after its time, as by a backfill, is overdue from then on.
    min(greatest(c.range_end + k.keep, c.chunk_creation_time)) as overdue_since,
    case k.dataset
        when 'ohlcv' then (select min(lower(during)) from stale_rollup)
        when 'trade' then least(
            (select min(lower(during)) from stale_rollup where dataset = 'trade'),
            (select min(lower(during)) - interval '60 seconds' from stale_feature)
        )
        when 'order_book' then (select min(lower(during)) - interval '60 seconds' from stale_feature)
    end as held_from,
    exists (select from archiving a where a.dataset = k.dataset) as is_archived
from unnest(%(datasets)s::text[], %(keeps)s::interval[]) as k (dataset, keep)
left join timescaledb_information.chunks c
    on c.hypertable_schema = current_schema()
    and c.hypertable_name = k.dataset
    and c.range_end <= now() - k.keep
    -- Candles longer than a minute stay, in the same chunks.
    and (
        k.dataset <> 'ohlcv'
        or exists (
            select
            from series s
            join coverage v using (series_id)
            left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
            where s.dataset = 'ohlcv'
                and s.timeframe_s = 60
                and v.rows > 0
                and c.range_end > coalesce(r.dropped_before, '-infinity')
                and v.covered && tstzrange(c.range_start, c.range_end)
        )
    )
group by k.dataset, k.keep
