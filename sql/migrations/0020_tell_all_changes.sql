-- What 0015 did not notice: retention of features, which TimescaleDB's own policies did without a word, tables that are
-- emptied in one go, and instruments that are renamed or removed.

-- Drop features older than config's "keep" says, in whole chunks; what has no "keep" is kept for good.
create procedure retain_features(job_id integer, config jsonb)
language plpgsql
set search_path from current
as $$
declare
    kept record;
    old  record;
begin
    -- The lock of tapehouse.store.features: a refresh looks once how far retention has gone. A job that waits in vain
    -- comes again soon.
    perform set_config('lock_timeout', '10min', true);
    perform pg_advisory_xact_lock(1717920116);
    for kept in select key as dataset, value as keep from jsonb_each_text(config -> 'keep')
    loop
        for old in
            select range_start, range_end
            from timescaledb_information.chunks
            where hypertable_schema = current_schema()
                and hypertable_name = kept.dataset
                and range_end <= now() - kept.keep::interval
            order by range_end
        loop
            perform drop_chunks(kept.dataset::regclass, older_than => old.range_end, newer_than => old.range_start);
            insert into retention (dataset, timeframe_s, dropped_before)
            values (kept.dataset, 0, old.range_end)
            on conflict (dataset, timeframe_s) do update
            set dropped_before = greatest(retention.dropped_before, excluded.dropped_before);
        end loop;
    end loop;
end
$$;

-- What the policies have dropped so far.
insert into retention (dataset, timeframe_s, dropped_before)
select dropped.dataset, 0, dropped.before
from (
    select
        j.hypertable_name as dataset,
        time_bucket(
            interval '7 days',
            s.last_run_started_at - (j.config ->> 'drop_after')::interval,
            timestamptz '1970-01-01 00:00+00'
        ) as before
    from timescaledb_information.jobs j
    join timescaledb_information.job_stats s using (job_id)
    where j.proc_name = 'policy_retention'
        and j.hypertable_schema = current_schema()
        and s.total_successes > 0
) dropped
where exists (select from coverage c where lower(c.covered) < dropped.before);

-- They are kept as long as they were, which somebody may have changed. Two hours after retain_ohlcv, one after
-- retain_ticks, which take the same locks.
select add_job(
    'retain_features', interval '1 day',
    config => jsonb_build_object('keep', coalesce(jsonb_object_agg(hypertable_name, config ->> 'drop_after'), '{}')),
    initial_start => now() + interval '2 hours'
)
from timescaledb_information.jobs
where proc_name = 'policy_retention' and hypertable_schema = current_schema() and scheduled;

select remove_retention_policy('order_book_1s', if_exists => true);
select remove_retention_policy('imbalance', if_exists => true);

create trigger notify_change after delete on instrument
for each row execute function notify_instrument_change();

create trigger notify_renamed_instrument after update on instrument
for each row when ((old.exchange, old.symbol) is distinct from (new.exchange, new.symbol))
execute function notify_instrument_change();

create trigger notify_emptied after truncate on instrument for each statement execute function notify_change();
create trigger notify_emptied after truncate on series for each statement execute function notify_change();
create trigger notify_emptied after truncate on coverage for each statement execute function notify_change();
create trigger notify_emptied after truncate on substitute for each statement execute function notify_change();
create trigger notify_emptied after truncate on stale_rollup for each statement execute function notify_change();
create trigger notify_emptied after truncate on stale_feature for each statement execute function notify_change();
create trigger notify_emptied after truncate on retention for each statement execute function notify_change();
