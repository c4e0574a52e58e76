-- Note that the rollups are refreshed over a range: of the given notes remains what lies outside it, an instrument's
-- in as few as possible. One row: how many notes lay inside.
with had as (
    delete from stale_rollup
    where stale_id = any(%(stale_ids)s)
    returning instrument_id, dataset, during, noted_at
),

outside as (
    insert into stale_rollup (instrument_id, dataset, during, noted_at)
    select
        instrument_id,
        dataset,
        unnest(range_agg(during) - tstzmultirange(%(refreshed)s::tstzrange)),
        min(noted_at)
    from had
    group by instrument_id, dataset
)

select count(*) filter (where during <@ %(refreshed)s::tstzrange)
from had
