-- Set how long a dataset's rows are kept, from the next run of its retention on; null keeps them for good: our own
-- jobs drop nothing of which their config says nothing, TimescaleDB's are not scheduled then. One row: the job's id.
with dropped (dataset, job, hypertable, path) as (
    values
        ('ohlcv', 'retain_ohlcv', null, array['keep']),
        ('trade', 'retain_ticks', null, array['keep', 'trade']),
        ('order_book', 'retain_ticks', null, array['keep', 'order_book']),
        ('order_book_1s', 'policy_retention', 'order_book_1s', array['drop_after']),
        ('imbalance', 'policy_retention', 'imbalance', array['drop_after'])
)

select (
    alter_job(
        j.job_id,
        scheduled => %(keep)s::interval is not null or (d.hypertable is null and j.scheduled),
        config => case
            when %(keep)s::interval is not null then jsonb_set(j.config, d.path, to_jsonb(%(keep)s::text))
            when d.hypertable is null then j.config #- d.path
            else j.config
        end
    )
).job_id
from dropped d
join timescaledb_information.jobs j
    on j.proc_name = d.job
    and j.hypertable_name is not distinct from d.hypertable
    and coalesce(j.hypertable_schema, j.proc_schema) = current_schema()
where d.dataset = %(dataset)s
