-- A row is a rollup or a table of features: until when it is computed (null of features, which follow no clock), how
-- many notes say that what it is derived from was written to since, from when on, and since when the first of these
-- waits to be made good. Until the day of its candles, the hour of its trades or its second has ended, none waits.
with derived (name, datasets, unit, place) as (
    values
        ('candle_5m', array['ohlcv'], interval '1 day', 1),
        ('candle_15m', array['ohlcv'], interval '1 day', 2),
        ('candle_1h', array['ohlcv'], interval '1 day', 3),
        ('candle_4h', array['ohlcv'], interval '1 day', 4),
        ('candle_1d', array['ohlcv'], interval '1 day', 5),
        ('trade_candle_1s', array['trade'], interval '1 hour', 6),
        ('trade_candle_1m', array['trade'], interval '1 hour', 7),
        ('order_book_1s', array['order_book'], interval '1 second', 8),
        ('imbalance', array['order_book', 'trade'], interval '1 second', 9)
),

note as (
    select false as is_of_features, dataset, lower(during) as stale_from, noted_at
    from stale_rollup
    where not isempty(during)
    union all
    select true, dataset, lower(during), noted_at
    from stale_feature
    where not isempty(during)
)

select
    d.name,
    (
        select _timescaledb_functions.to_timestamp(w.watermark)
        from _timescaledb_catalog.continuous_agg a
        join _timescaledb_catalog.continuous_aggs_watermark w using (mat_hypertable_id)
        -- Before all times where nothing is computed yet.
        where a.user_view_schema = current_schema() and a.user_view_name = d.name and w.watermark > 0
    ) as watermark,
    count(n.dataset) as stale,
    min(n.stale_from) as stale_from,
    case
        when min(waits.since) <= now() then extract(epoch from now() - min(waits.since))::float8
        else 0
    end as waiting_s
from derived d
left join note n on n.dataset = any(d.datasets) and n.is_of_features = (d.place > 7)
left join lateral greatest(n.noted_at, time_bucket(d.unit, n.stale_from) + d.unit) as waits (since)
    on n.dataset is not null
group by d.name, d.place
order by d.place
