-- A row is a dataset that retention may drop: how long its rows are kept (null: for good), the time before which the
-- next run of its job drops them, in whole chunks, the time before which it has done so, and when it runs next.
with dropped (dataset, timeframe_s, job, hypertable, path) as (
    values
        ('ohlcv', 60, 'retain_ohlcv', null, array['keep']),
        ('trade', 0, 'retain_ticks', null, array['keep', 'trade']),
        ('order_book', 0, 'retain_ticks', null, array['keep', 'order_book']),
        ('order_book_1s', 0, 'policy_retention', 'order_book_1s', array['drop_after']),
        ('imbalance', 0, 'policy_retention', 'imbalance', array['drop_after'])
),

kept as (
    select
        d.dataset,
        d.timeframe_s,
        case when j.scheduled then j.config #>> d.path end as keep,
        -- Before all times while it runs.
        case when j.scheduled then nullif(j.next_start, '-infinity') end as next_run_at
    from dropped d
    left join timescaledb_information.jobs j
        on j.proc_name = d.job
        and j.hypertable_name is not distinct from d.hypertable
        and coalesce(j.hypertable_schema, j.proc_schema) = current_schema()
)

select
    k.dataset,
    k.keep,
    time_bucket(t.time_interval, now() - k.keep::interval, timestamptz '1970-01-01 00:00+00') as kept_since,
    r.dropped_before,
    case when k.keep is not null then k.next_run_at end as next_run_at
from kept k
join timescaledb_information.dimensions t
    on t.hypertable_schema = current_schema()
    and t.hypertable_name = k.dataset
left join retention r on r.dataset = k.dataset and r.timeframe_s = k.timeframe_s
order by array_position(array['ohlcv', 'trade', 'order_book', 'order_book_1s', 'imbalance'], k.dataset)
