-- A row is a dataset that retention may drop: how long its rows are kept (null: for good), the time before which the
-- next run of its job drops them, in whole chunks, the time before which it has done so, and when it is due next, also where tapehouse runs it.
with dropped (dataset, timeframe_s, job, path) as (
    values
        ('ohlcv', 60, 'retain_ohlcv', array['keep']),
        ('trade', 0, 'retain_ticks', array['keep', 'trade']),
        ('order_book', 0, 'retain_ticks', array['keep', 'order_book']),
        ('order_book_1s', 0, 'retain_features', array['keep', 'order_book_1s']),
        ('imbalance', 0, 'retain_features', array['keep', 'imbalance'])
),

kept as (
    select
        d.dataset,
        d.timeframe_s,
        case when j.scheduled then j.config #>> d.path end as keep,
        -- As in read_storage_jobs.sql; before all times while it runs.
        case
            when j.scheduled then greatest(
                nullif(j.next_start, '-infinity'),
                o.started_at + case when o.error is null then j.schedule_interval else j.retry_period end
            )
        end as next_run_at
    from dropped d
    left join timescaledb_information.jobs j
        on j.proc_name = d.job
        and j.proc_schema = current_schema()
    left join job_run o using (job_id)
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
