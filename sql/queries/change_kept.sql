-- Set how long a dataset's rows are kept, from the next run of its retention on; null keeps them for good: the jobs drop
-- nothing of which their config says nothing. One row: the job's id.
with dropped (dataset, job, path) as (
    values
        ('ohlcv', 'retain_ohlcv', array['keep']),
        ('trade', 'retain_ticks', array['keep', 'trade']),
        ('order_book', 'retain_ticks', array['keep', 'order_book']),
        ('order_book_1s', 'retain_features', array['keep', 'order_book_1s']),
        ('imbalance', 'retain_features', array['keep', 'imbalance'])
)

select (
    alter_job(
        j.job_id,
        scheduled => j.scheduled or %(keep)s::interval is not null,
        config => case
            when %(keep)s::interval is not null then jsonb_set(j.config, d.path, to_jsonb(%(keep)s::text))
            else j.config #- d.path
        end
    )
).job_id
from dropped d
join timescaledb_information.jobs j
    on j.proc_name = d.job
    and j.proc_schema = current_schema()
where d.dataset = %(dataset)s
