-- A row is a series with rows in a chunk of which no file holds them, where retention drops the chunk within the time
-- ahead: how many rows there are, from when to when the chunk is, and the instrument. datasets and keeps are arrays of
-- one length.
-- Materialized, since the planner would else look into chunks before it knows whose they are.
with expiring as materialized (
    select
        k.dataset,
        (quote_ident(c.chunk_schema) || '.' || quote_ident(c.chunk_name))::regclass as chunk,
        c.range_start,
        c.range_end
    from unnest(%(datasets)s::text[], %(keeps)s::interval[]) as k (dataset, keep)
    join timescaledb_information.chunks c
        on c.hypertable_schema = current_schema()
        and c.hypertable_name = k.dataset
        and c.range_end <= now() - k.keep + %(ahead)s::interval
    left join retention r
        on r.dataset = k.dataset
        and r.timeframe_s = case k.dataset when 'ohlcv' then 60 else 0 end
    where r.dropped_before is null or c.range_end > r.dropped_before
)

select
    u.series_id,
    e.dataset,
    e.range_start,
    e.range_end,
    u.stored as rows,
    i.exchange,
    i.symbol
from expiring e
cross join lateral read_unarchived(e.dataset, e.chunk, tstzrange(e.range_start, e.range_end)) u
join series s using (series_id)
join instrument i using (instrument_id)
order by e.range_end, array_position(array['ohlcv', 'trade', 'order_book'], e.dataset), i.exchange, i.symbol
