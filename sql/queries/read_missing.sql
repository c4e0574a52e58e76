-- A row is a range of the wanted one that should be asked for: not covered, and not known to be
-- unavailable until later, unless only because asking failed; or in one of the trailing ranges, which
-- are asked for again in any case; and not dropped by retention.
select lower(r), upper(r)
from unnest(
    tstzmultirange(%(wanted)s::tstzrange)
    - (select covered from coverage where series_id = %(series_id)s)
    - coalesce(
        (
            select range_agg(during)
            from unavailable
            where series_id = %(series_id)s and next_try_at > now() and cause <> 'failed'
        ),
        '{}'
    )
    + %(trailing)s::tstzmultirange
    - coalesce(
        (
            select tstzmultirange(tstzrange(null, r.dropped_before))
            from series s
            join retention r using (dataset, timeframe_s)
            where s.series_id = %(series_id)s
        ),
        '{}'
    )
) as r
order by 1
