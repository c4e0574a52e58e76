-- How many rows each series holds and how many of its rows were rejected, counted by whatever writes or removes
-- them, so that an inventory never counts rows (see docs/decisions/0016).

alter table coverage
    add column rows bigint not null default 0,
    add column rejected bigint not null default 0;

-- Count what is stored anew: for a database from before, and after rows were removed or added by hand.
create procedure count_stored_rows()
language plpgsql
set search_path from current
as $$
begin
    -- Writers lock their series' row of it: what they have under way is waited for.
    lock table coverage in exclusive mode;
    update coverage c
    set rows = coalesce(stored.rows, 0),
        rejected = (select count(*) from quarantine q where q.series_id = c.series_id)
    from series s
    left join (
        select instrument_id, 'ohlcv' as dataset, timeframe_s, count(*) as rows from ohlcv group by 1, 3
        union all
        select instrument_id, 'trade', 0, count(*) from trade group by 1
        union all
        select instrument_id, 'order_book', 0, count(*) from order_book group by 1
    ) stored using (instrument_id, dataset, timeframe_s)
    where s.series_id = c.series_id;
end
$$;

call count_stored_rows();

-- As before, and what is removed is taken off the counts; what has no "keep" is kept for good.
create or replace procedure retain_ohlcv(job_id integer, config jsonb)
language plpgsql
set search_path from current
as $$
declare
    horizon timestamptz;
    old     record;
    emptied boolean;
begin
    -- Without "keep" 1m candles are kept for good: least() below would pass over it.
    if config ->> 'keep' is null then
        return;
    end if;
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
        -- Counted before: a delete that returned its rows would decompress them.
        execute format(
            'update coverage c set rows = c.rows - gone.rows from series s '
            'join (select instrument_id, count(*) as rows from %s where timeframe_s = 60 group by 1) gone '
            'using (instrument_id) '
            'where s.series_id = c.series_id and s.dataset = ''ohlcv'' and s.timeframe_s = 60',
            old.chunk
        );
        -- TimescaleDB before 2.24 decompresses what it deletes.
        perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
        -- From the hypertable: the embedded one's TimescaleDB removes nothing from a compressed chunk by its name.
        execute 'delete from ohlcv where timeframe_s = 60 and time >= $1 and time < $2'
        using old.range_start, old.range_end;
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

create or replace procedure retain_ticks(job_id integer, config jsonb)
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
        -- least() below would pass over it.
        continue when kept.keep is null;
        horizon := least(
            now() - kept.keep::interval,
            (select min(lower(during)) from stale_rollup where dataset = kept.dataset),
            (select min(lower(during)) - interval '60 seconds' from stale_feature)
        );
        for old in
            select format('%I.%I', chunk_schema, chunk_name) as chunk, range_start, range_end
            from timescaledb_information.chunks
            where hypertable_schema = current_schema() and hypertable_name = kept.dataset and range_end <= horizon
            order by range_end
        loop
            execute format(
                'update coverage c set rows = c.rows - gone.rows from series s '
                'join (select instrument_id, count(*) as rows from %s group by 1) gone using (instrument_id) '
                'where s.series_id = c.series_id and s.dataset = %L',
                old.chunk, kept.dataset
            );
            perform drop_chunks(kept.dataset::regclass, older_than => old.range_end, newer_than => old.range_start);
            insert into retention (dataset, timeframe_s, dropped_before)
            values (kept.dataset, 0, old.range_end)
            on conflict (dataset, timeframe_s) do update
            set dropped_before = greatest(retention.dropped_before, excluded.dropped_before);
        end loop;
    end loop;
end
$$;
