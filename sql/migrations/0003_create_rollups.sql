-- Candle rollups, each from the one below it, 5m from the 1m candles: real-time, in UTC buckets.
-- minutes counts the 1m candles in a bucket. Flows fill and refresh them, bottom-up.

create materialized view candle_5m
with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.chunk_interval = '60 days') as
select
    instrument_id,
    time_bucket(interval '5 minutes', time) as time,
    first(open, time) as open,
    max(high) as high,
    min(low) as low,
    last(close, time) as close,
    sum(volume) as volume,
    count(*)::integer as minutes
from ohlcv
where timeframe_s = 60
group by 1, 2
with no data;

create materialized view candle_15m
with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.chunk_interval = '60 days') as
select
    instrument_id,
    time_bucket(interval '15 minutes', time) as time,
    first(open, time) as open,
    max(high) as high,
    min(low) as low,
    last(close, time) as close,
    sum(volume) as volume,
    sum(minutes)::integer as minutes
from candle_5m
group by 1, 2
with no data;

create materialized view candle_1h
with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.chunk_interval = '60 days') as
select
    instrument_id,
    time_bucket(interval '1 hour', time) as time,
    first(open, time) as open,
    max(high) as high,
    min(low) as low,
    last(close, time) as close,
    sum(volume) as volume,
    sum(minutes)::integer as minutes
from candle_15m
group by 1, 2
with no data;

create materialized view candle_4h
with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.chunk_interval = '60 days') as
select
    instrument_id,
    time_bucket(interval '4 hours', time) as time,
    first(open, time) as open,
    max(high) as high,
    min(low) as low,
    last(close, time) as close,
    sum(volume) as volume,
    sum(minutes)::integer as minutes
from candle_1h
group by 1, 2
with no data;

create materialized view candle_1d
with (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.chunk_interval = '60 days') as
select
    instrument_id,
    time_bucket(interval '1 day', time) as time,
    first(open, time) as open,
    max(high) as high,
    min(low) as low,
    last(close, time) as close,
    sum(volume) as volume,
    sum(minutes)::integer as minutes
from candle_4h
group by 1, 2
with no data;

-- As with ohlcv, the keys are in segmentby and orderby; the default differs between versions.
alter materialized view candle_5m set (
    timescaledb.compress, timescaledb.compress_segmentby = 'instrument_id', timescaledb.compress_orderby = 'time'
);
alter materialized view candle_15m set (
    timescaledb.compress, timescaledb.compress_segmentby = 'instrument_id', timescaledb.compress_orderby = 'time'
);
alter materialized view candle_1h set (
    timescaledb.compress, timescaledb.compress_segmentby = 'instrument_id', timescaledb.compress_orderby = 'time'
);
alter materialized view candle_4h set (
    timescaledb.compress, timescaledb.compress_segmentby = 'instrument_id', timescaledb.compress_orderby = 'time'
);
alter materialized view candle_1d set (
    timescaledb.compress, timescaledb.compress_segmentby = 'instrument_id', timescaledb.compress_orderby = 'time'
);

-- Flows refresh the rollups, so they have no refresh policy, and a compression policy wants one:
-- this job compresses their chunks older than config's "after" instead, also those
-- that were written to since.
create procedure compress_rollups(job_id integer, config jsonb)
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
            and a.view_name in ('candle_5m', 'candle_15m', 'candle_1h', 'candle_4h', 'candle_1d')
            and c.range_end <= now() - (config ->> 'after')::interval
    loop
        perform compress_chunk(chunk, if_not_compressed => true);
    end loop;
end
$$;

select add_job('compress_rollups', interval '1 day', config => '{"after": "30 days"}');
