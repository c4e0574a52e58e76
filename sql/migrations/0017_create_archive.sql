-- The archive: files that hold what retention is about to drop (see docs/decisions/0021), and which datasets have to be
-- in it before they are dropped.

create table archiving (
    dataset        text primary key check (dataset in ('ohlcv', 'trade', 'order_book')),
    switched_on_at timestamptz not null default now()
);

-- A file with a series' rows of a chunk, at a path below the archive's folder, which each process knows by itself.
-- While verified_at is null it is being made. A write to its time removes the row, since the file is behind then; what
-- is deleted once the rows are dropped is taken out of kept.
create table archive (
    series_id   integer not null references series,
    during      tstzrange not null,
    kept        tstzmultirange not null,
    path        text,
    rows        bigint,
    sha256      text,
    verified_at timestamptz,
    primary key (series_id, during),
    check (verified_at is null or (path, rows, sha256) is not null)
);

-- What of it was whole in the archive when it was dropped.
alter table retention add column archived tstzmultirange not null default '{}';

-- A row is a series, of 1m candles, trades or order books, with rows in a chunk of which no file holds as many.
create function read_unarchived(of_dataset text, chunk regclass, chunk_range tstzrange)
returns table (series_id integer, stored bigint)
language plpgsql
stable
set search_path from current
as $$
declare
    is_of_candles boolean := of_dataset = 'ohlcv';
begin
    return query execute format(
        'select s.series_id, stored.rows '
        'from (select instrument_id, count(*) as rows from %s %s group by 1) stored '
        'join series s using (instrument_id) '
        'left join archive a on a.series_id = s.series_id and a.during = $3 '
        'where s.dataset = $1 and s.timeframe_s = $2 and (a.verified_at is null or a.rows <> stored.rows)',
        chunk, case when is_of_candles then 'where timeframe_s = 60' end
    )
    using of_dataset, case when is_of_candles then 60 else 0 end, chunk_range;
end
$$;

-- Whatever changes rows notes what is derived from them as stale, in its own transaction: 1m candles in stale_rollup,
-- trades and order books in stale_feature. Files of what was dropped stay: their rows are stored nowhere else.
create function forget_archived() returns trigger
language plpgsql
set search_path from current
as $$
begin
    delete from archive a
    using series s
    where s.instrument_id = new.instrument_id
        and s.dataset = new.dataset
        and a.series_id = s.series_id
        and a.during && new.during
        and not exists (
            select from retention r
            where r.dataset = s.dataset and r.timeframe_s = s.timeframe_s and upper(a.during) <= r.dropped_before
        );
    return null;
end
$$;

create trigger forget_archived after insert on stale_rollup
for each row when (new.dataset = 'ohlcv')
execute function forget_archived();

create trigger forget_archived after insert on stale_feature
for each row execute function forget_archived();

-- As before, and where a dataset is archived, no further than what the archive holds.
create or replace procedure retain_ohlcv(job_id integer, config jsonb)
language plpgsql
set search_path from current
as $$
declare
    horizon timestamptz;
    old     record;
    emptied boolean;
    is_on   boolean;
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
    is_on := exists (select from archiving where dataset = 'ohlcv');
    for old in
        select format('%I.%I', chunk_schema, chunk_name) as chunk, range_start, range_end
        from timescaledb_information.chunks
        where hypertable_schema = current_schema() and hypertable_name = 'ohlcv' and range_end <= horizon
        order by range_end
    loop
        exit when is_on and exists (
            select from read_unarchived('ohlcv', old.chunk::regclass, tstzrange(old.range_start, old.range_end))
        );
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
        insert into retention (dataset, timeframe_s, dropped_before, archived)
        values (
            'ohlcv', 60, old.range_end,
            case when is_on then tstzmultirange(tstzrange(old.range_start, old.range_end)) else '{}' end
        )
        on conflict (dataset, timeframe_s) do update
        set dropped_before = excluded.dropped_before,
            archived = retention.archived + excluded.archived
        -- A chunk that holds longer candles is come to again.
        where excluded.dropped_before > retention.dropped_before;
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
    is_on   boolean;
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
        is_on := exists (select from archiving where dataset = kept.dataset);
        for old in
            select format('%I.%I', chunk_schema, chunk_name) as chunk, range_start, range_end
            from timescaledb_information.chunks
            where hypertable_schema = current_schema() and hypertable_name = kept.dataset and range_end <= horizon
            order by range_end
        loop
            exit when is_on and exists (
                select from read_unarchived(
                    kept.dataset, old.chunk::regclass, tstzrange(old.range_start, old.range_end)
                )
            );
            execute format(
                'update coverage c set rows = c.rows - gone.rows from series s '
                'join (select instrument_id, count(*) as rows from %s group by 1) gone using (instrument_id) '
                'where s.series_id = c.series_id and s.dataset = %L',
                old.chunk, kept.dataset
            );
            perform drop_chunks(kept.dataset::regclass, older_than => old.range_end, newer_than => old.range_start);
            insert into retention (dataset, timeframe_s, dropped_before, archived)
            values (
                kept.dataset, 0, old.range_end,
                case when is_on then tstzmultirange(tstzrange(old.range_start, old.range_end)) else '{}' end
            )
            on conflict (dataset, timeframe_s) do update
            set dropped_before = greatest(retention.dropped_before, excluded.dropped_before),
                archived = retention.archived + excluded.archived;
        end loop;
    end loop;
end
$$;
