-- A row is a job that keeps the storage in order: when it is due, how many runs failed since one went well, and what
-- the last of them said. Runs are the server's own and those that tapehouse started in its stead, which change nothing
-- of what the server has planned and noted. After a run that failed a job is due again soon.
with ours as materialized (
    select
        j.job_id,
        j.proc_name,
        j.hypertable_name,
        j.config,
        j.schedule_interval,
        j.retry_period,
        j.scheduled,
        nullif(s.next_start, '-infinity') as next_start,
        nullif(s.last_run_started_at, '-infinity') as started_at,
        nullif(s.last_successful_finish, '-infinity') as succeeded_at,
        coalesce(s.last_run_status = 'Failed', false) as is_failed,
        coalesce(s.job_status = 'Running', false) as is_running
    from timescaledb_information.jobs j
    left join timescaledb_information.job_stats s using (job_id)
    where coalesce(j.hypertable_schema, j.proc_schema) = current_schema()
        and j.proc_name in ('policy_compression', 'compress_rollups', 'retain_ohlcv', 'retain_ticks', 'retain_features')
),

server_failures as (
    select
        o.job_id,
        count(*) as failed,
        (array_agg(e.err_message order by e.finish_time desc))[1] as error
    from ours o
    join timescaledb_information.job_errors e using (job_id)
    where o.is_failed and (o.succeeded_at is null or e.start_time > o.succeeded_at)
    group by o.job_id
)

select
    o.job_id,
    o.proc_name as procedure,
    coalesce(o.hypertable_name::text, (select string_agg(v, ', ') from jsonb_array_elements_text(o.config -> 'views') v)) as of_what,
    extract(epoch from o.schedule_interval)::float8 as every_s,
    o.scheduled as is_scheduled,
    o.is_running,
    greatest(o.succeeded_at, r.succeeded_at) as succeeded_at,
    case
        when o.scheduled then greatest(
            o.next_start, r.started_at + case when r.error is null then o.schedule_interval else o.retry_period end
        )
    end as due_at,
    case
        when r.started_at > coalesce(o.started_at, '-infinity') then r.failed
        when o.is_failed then coalesce(f.failed, 1)
        else 0
    end as failed_in_a_row,
    case when r.started_at > coalesce(o.started_at, '-infinity') then r.error else f.error end as error
from ours o
left join job_run r using (job_id)
left join server_failures f using (job_id)
order by procedure, of_what, o.job_id
