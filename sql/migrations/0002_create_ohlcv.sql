-- Candles as the exchange gave them, any native timeframe, in whole ticks and lots.

create table ohlcv (
    instrument_id integer not null,
    timeframe_s   integer not null,
    time          timestamptz not null,
    open          float8 not null,
    high          float8 not null,
    low           float8 not null,
    close         float8 not null,
    volume        float8 not null,
    primary key (instrument_id, timeframe_s, time)
);

-- Without the default index on time, which costs 40 % of ingest and serves no query here.
select create_hypertable('ohlcv', by_range('time', interval '30 days'), create_default_indexes => false);

-- The primary key's columns are in segmentby and orderby, so upserts into compressed chunks work.
alter table ohlcv set (
    timescaledb.compress,
    timescaledb.compress_segmentby = 'instrument_id, timeframe_s',
    timescaledb.compress_orderby = 'time'
);

select add_compression_policy('ohlcv', compress_after => interval '7 days');

-- Drop 1m candles older than config's "keep", in whole chunks, longer timeframes never, and never
-- past a range whose rollups are behind. Old 1m candles leave their rollups standing.
create procedure retain_ohlcv(job_id integer, config jsonb)
language plpgsql
set search_path from current
as $$
declare
    horizon timestamptz;
    old     record;
    emptied boolean;
begin
    -- The lock of tapehouse.store.rollups: a refresh over minutes that go meanwhile would empty the
    -- rollups. The job comes again tomorrow.
    if not pg_try_advisory_xact_lock(1919904876) then
        raise notice 'the rollups are being refreshed: nothing dropped this time';
        return;
    end if;
    -- Writers lock their series' row of it: what they have under way is waited for, and from here on
    -- they see how far retention has gone.
    lock table coverage in exclusive mode;
    horizon := least(
        now() - (config ->> 'keep')::interval,
        (select min(lower(during)) from stale_rollup)
    );
    for old in
        select format('%I.%I', chunk_schema, chunk_name) as chunk, range_start, range_end
        from timescaledb_information.chunks
        where hypertable_schema = current_schema() and hypertable_name = 'ohlcv' and range_end <= horizon
        order by range_end
    loop
        -- TimescaleDB before 2.24 decompresses what it deletes.
        perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
        execute format('delete from %s where timeframe_s = 60', old.chunk);
        execute format('select not exists (select from %s)', old.chunk) into emptied;
        if emptied then
            perform drop_chunks('ohlcv', older_than => old.range_end, newer_than => old.range_start);
        end if;
        insert into retention (dataset, timeframe_s, dropped_before)
        values ('ohlcv', 60, old.range_end)
        on conflict (dataset, timeframe_s) do update
        set dropped_before = greatest(retention.dropped_before, excluded.dropped_before);
    end loop;
end
$$;

select add_job('retain_ohlcv', interval '1 day', config => '{"keep": "2 years"}');
