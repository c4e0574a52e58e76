-- A row is a table of data or a rollup: its bytes, those of its chunks that came into being in the last 30 days, and
-- its chunks: how many there are, are compressed, were written to since, are due for compression and since when, and
-- what the compressed ones took before and take since.
with stored as materialized (
    select hypertable_name as name, hypertable_schema, hypertable_name
    from timescaledb_information.hypertables
    where hypertable_schema = current_schema()
    union all
    select view_name, materialization_hypertable_schema, materialization_hypertable_name
    from timescaledb_information.continuous_aggregates
    where view_schema = current_schema()
),

compressed_after as materialized (
    select hypertable_name as name, (config ->> 'compress_after')::interval as compress_after
    from timescaledb_information.jobs
    where hypertable_schema = current_schema() and proc_name = 'policy_compression'
    union all
    select jsonb_array_elements_text(config -> 'views'), (config ->> 'after')::interval
    from timescaledb_information.jobs
    where proc_schema = current_schema() and proc_name = 'compress_rollups'
),

size as materialized (
    select s.name, d.chunk_schema, d.chunk_name, d.total_bytes
    from stored s
    cross join lateral chunks_detailed_size(format('%I.%I', s.hypertable_schema, s.hypertable_name)::regclass) as d
),

compressed as materialized (
    select d.chunk_schema, d.chunk_name, d.before_compression_total_bytes, d.after_compression_total_bytes
    from stored s
    cross join lateral chunk_compression_stats(format('%I.%I', s.hypertable_schema, s.hypertable_name)::regclass) as d
    where d.compression_status = 'Compressed'
),

chunk as (
    select
        s.name,
        c.chunk_name,
        c.chunk_creation_time,
        c.is_compressed,
        -- Bit 8: rows were written since; TimescaleDB keeps them beside the compressed ones until it compresses again.
        c.is_compressed and _timescaledb_functions.chunk_status(
            format('%I.%I', c.chunk_schema, c.chunk_name)::regclass
        ) & 8 > 0 as is_partial,
        c.range_end + a.compress_after as due_at
    from stored s
    join timescaledb_information.chunks c using (hypertable_schema, hypertable_name)
    left join compressed_after a using (name)
)

select
    name,
    coalesce(sum(z.total_bytes), 0)::bigint as bytes,
    coalesce(sum(z.total_bytes) filter (where c.chunk_creation_time > now() - interval '30 days'), 0)::bigint as new_bytes,
    count(c.chunk_name) as chunks,
    count(*) filter (where c.is_compressed) as compressed,
    count(*) filter (where c.is_partial) as partly_compressed,
    count(*) filter (where c.due_at <= now() and (not c.is_compressed or c.is_partial)) as due,
    min(c.due_at) filter (where c.due_at <= now() and (not c.is_compressed or c.is_partial)) as due_since,
    min(c.chunk_creation_time) as first_made_at,
    coalesce(sum(p.before_compression_total_bytes), 0)::bigint as before_bytes,
    coalesce(sum(p.after_compression_total_bytes), 0)::bigint as after_bytes
from stored s
left join chunk c using (name)
left join size z using (name, chunk_name)
left join compressed p using (chunk_name)
group by name
order by name
