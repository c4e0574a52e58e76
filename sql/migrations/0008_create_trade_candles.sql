-- Candles built from trades: real-time, in UTC buckets. Flows fill and refresh them, 1s before 1m.

-- The order of trades within a microsecond is that of their ids; first() can't sort by three columns, since the
-- state of a partial aggregate can't hold a row. trades counts them; bought and sold
-- are the volumes of takers who did so, and may be less than volume where a side is unknown.
create materialized view trade_candle_1s
with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.chunk_interval = '7 days') as
select
    instrument_id,
    time_bucket(interval '1 second', time) as time,
    (array_agg(price order by time, trade_id, id_text))[1] as open,
    max(price) as high,
    min(price) as low,
    (array_agg(price order by time, trade_id, id_text))[count(*)] as close,
    sum(amount) as volume,
    count(*)::integer as trades,
    coalesce(sum(amount) filter (where side = 1), 0) as bought,
    coalesce(sum(amount) filter (where side = -1), 0) as sold
from trade
group by 1, 2
with no data;

create materialized view trade_candle_1m
with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.chunk_interval = '60 days') as
select
    instrument_id,
    time_bucket(interval '1 minute', time) as time,
    first(open, time) as open,
    max(high) as high,
    min(low) as low,
    last(close, time) as close,
    sum(volume) as volume,
    sum(trades)::integer as trades,
    sum(bought) as bought,
    sum(sold) as sold
from trade_candle_1s
group by 1, 2
with no data;

alter materialized view trade_candle_1s set (
    timescaledb.compress, timescaledb.compress_segmentby = 'instrument_id', timescaledb.compress_orderby = 'time'
);
alter materialized view trade_candle_1m set (
    timescaledb.compress, timescaledb.compress_segmentby = 'instrument_id', timescaledb.compress_orderby = 'time'
);

-- Of which dataset the range was written: each has its own rollups.
alter table stale_rollup
    add column dataset text not null default 'ohlcv' check (dataset in ('ohlcv', 'trade'));

-- As before, but the views are config's "views", since trade candles are many more.
create or replace procedure compress_rollups(job_id integer, config jsonb)
language plpgsql
set search_path from current
as $$
declare
    chunk regclass;
begin
    for chunk in
        select format('%I.%I', c.chunk_schema, c.chunk_name)::regclass
        from timescaledb_information.continuous_aggregates a
        join timescaledb_information.chunks c
            on c.hypertable_schema = a.materialization_hypertable_schema
            and c.hypertable_name = a.materialization_hypertable_name
        where a.view_schema = current_schema()
            and a.view_name in (select jsonb_array_elements_text(config -> 'views'))
            and c.range_end <= now() - (config ->> 'after')::interval
    loop
        perform compress_chunk(chunk, if_not_compressed => true);
    end loop;
end
$$;

select alter_job(
    job_id,
    config => config || '{"views": ["candle_5m", "candle_15m", "candle_1h", "candle_4h", "candle_1d", "trade_candle_1m"]}'
)
from timescaledb_information.jobs
where proc_schema = current_schema() and proc_name = 'compress_rollups';

select add_job(
    'compress_rollups', interval '1 day', config => '{"after": "2 days", "views": ["trade_candle_1s"]}'
);

-- Drop trades and snapshots older than config's "keep" says, in whole chunks, and never past a range whose
-- trade candles or features are behind. What was derived from them stays.
create procedure retain_ticks(job_id integer, config jsonb)
language plpgsql
set search_path from current
as $$
declare
    kept    record;
    horizon timestamptz;
    old     record;
begin
    -- The locks of tapehouse.store.rollups and tapehouse.store.features: a refresh over what goes meanwhile
    -- would empty what is derived from it. A job that waits in vain comes again soon.
    perform set_config('lock_timeout', '10min', true);
    perform pg_advisory_xact_lock(1919904876);
    perform pg_advisory_xact_lock(1717920116);
    -- Writers lock their series' row of it: what they have under way is waited for, and from here on
    -- they see how far retention has gone.
    lock table coverage in exclusive mode;
    for kept in select key as dataset, value as keep from jsonb_each_text(config -> 'keep')
    loop
        horizon := least(
            now() - kept.keep::interval,
            (select min(lower(during)) from stale_rollup where dataset = kept.dataset),
            (select min(lower(during)) - interval '60 seconds' from stale_feature)
        );
        for old in
            select range_start, range_end
            from timescaledb_information.chunks
            where hypertable_schema = current_schema() and hypertable_name = kept.dataset and range_end <= horizon
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

-- An hour after retain_ohlcv, which doesn't wait for locks.
select add_job(
    'retain_ticks', interval '1 day', config => '{"keep": {"trade": "90 days", "order_book": "30 days"}}',
    initial_start => now() + interval '1 hour'
);
