-- A row is a range of a series whose rows came from one source that is not its exchange, the ranges just written and
-- those of the same source that they touch as one.
with written as (
    select during
    from unnest(%(ranges)s::tstzmultirange) as during
),

touched as (
    delete from substitute s
    using written w
    where s.series_id = %(series_id)s
        and s.source = %(source)s
        and (s.during && w.during or s.during -|- w.during)
    returning s.during
)

insert into substitute (series_id, during, source)
select %(series_id)s, during, %(source)s
from unnest(%(ranges)s::tstzmultirange + coalesce((select range_agg(during) from touched), '{}')) as during
on conflict (series_id, during) do update
set source = excluded.source,
    recorded_at = now()
