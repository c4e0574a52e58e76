-- Note how a job went that tapehouse ran in the server's stead; error is null where it went well.
insert into job_run (job_id, started_at, finished_at, succeeded_at, failed, error)
values (
    %(job_id)s,
    %(started_at)s,
    clock_timestamp(),
    case when %(error)s::text is null then clock_timestamp() end,
    (%(error)s::text is not null)::integer,
    %(error)s
)
on conflict (job_id) do update
set started_at = excluded.started_at,
    finished_at = excluded.finished_at,
    succeeded_at = coalesce(excluded.succeeded_at, job_run.succeeded_at),
    failed = case when excluded.error is null then 0 else job_run.failed + 1 end,
    error = excluded.error
