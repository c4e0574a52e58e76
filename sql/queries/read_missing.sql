-- A row is a range of the wanted one that should be asked for: not covered, and not known to be
-- unavailable until later, nor dropped by retention; plus what is wanted of the trailing range again in any case.
select lower(r), upper(r)
from unnest(
    tstzmultirange(%(wanted)s::tstzrange)
    - (select covered from coverage where series_id = %(series_id)s)
    - coalesce(
        (
            select range_agg(during)
            from unavailable
            where series_id = %(series_id)s and next_try_at > now()
        ),
        '{}'
    )
    - coalesce(
        (
            select tstzmultirange(tstzrange(null, r.dropped_before))
            from series s
            join retention r using (dataset, timeframe_s)
            where s.series_id = %(series_id)s
        ),
        '{}'
    )
    + tstzmultirange(%(trailing)s::tstzrange)
) as r
order by 1
