-- A row is a range of whole units of time in which notes say that rows of a dataset were written since the rollups
-- over them were refreshed, oldest first; ranges that touch are one.
select lower(r), upper(r)
from unnest(
    (
        select range_agg(
            tstzrange(
                time_bucket(%(unit)s::interval, lower(during)),
                time_bucket(%(unit)s, upper(during) - interval '1 microsecond') + %(unit)s
            )
        )
        from stale_rollup
        where dataset = %(dataset)s and not isempty(during)
    )
) as r
order by 1
