-- A row is a table of data or a rollup: its bytes, those of its chunks that came into being in the last 30 days, and
-- its chunks: how many there are, are compressed, were written to since, or are due for compression and since when;
-- what the compressed ones took before and take since, how many of them are small, and how many rows a batch holds.
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

span as materialized (
    select s.name, c.chunk_schema, c.chunk_name, c.range_end, c.is_compressed, c.chunk_creation_time
    from stored s
    join timescaledb_information.chunks c using (hypertable_schema, hypertable_name)
),

size as materialized (
    select d.*
    from stored s
    cross join lateral _timescaledb_functions.chunks_local_size(s.hypertable_schema, s.hypertable_name) as d
),

chunk as (
    select
        s.name,
        s.is_compressed,
        s.chunk_creation_time,
        -- What is written long after its time, as by a backfill, waits from then on.
        case when not s.is_compressed then greatest(s.range_end + a.compress_after, s.chunk_creation_time) end as due_at,
        z.total_bytes as bytes,
        -- Rows that were written since; TimescaleDB keeps them beside the compressed ones until it compresses again.
        s.is_compressed and h.status & 8 > 0 as is_partial,
        p.uncompressed_heap_size + p.uncompressed_index_size + p.uncompressed_toast_size as before_bytes,
        p.compressed_heap_size + p.compressed_index_size + p.compressed_toast_size as after_bytes,
        p.numrows_pre_compression as rows,
        p.numrows_post_compression as batches
    from span s
    join size z using (chunk_schema, chunk_name)
    join _timescaledb_catalog.chunk h on h.id = z.chunk_id
    left join _timescaledb_catalog.compression_chunk_size p using (chunk_id)
    left join compressed_after a using (name)
)

select
    s.name,
    coalesce(sum(c.bytes), 0)::bigint as bytes,
    coalesce(sum(c.bytes) filter (where c.chunk_creation_time > now() - interval '30 days'), 0)::bigint as new_bytes,
    count(c.name) as chunks,
    count(*) filter (where c.is_compressed) as compressed,
    count(*) filter (where c.is_partial) as partly_compressed,
    count(*) filter (where c.due_at <= now()) as due,
    min(c.due_at) filter (where c.due_at <= now()) as due_since,
    min(c.chunk_creation_time) as first_made_at,
    coalesce(sum(c.before_bytes), 0)::bigint as before_bytes,
    coalesce(sum(c.after_bytes), 0)::bigint as after_bytes,
    count(*) filter (where c.before_bytes < 1048576) as small,
    (sum(c.rows) / nullif(sum(c.batches), 0))::float8 as rows_per_batch
from stored s
left join chunk c using (name)
group by s.name
order by s.name
