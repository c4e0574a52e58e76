-- A row is a file that holds what retention has dropped of a series within a range, oldest first: its path, its SHA-256,
-- and what of it counts; with what all files together hold of the series' time line. Without a file one row without
-- path; no row where nothing of the range was archived.
select
    r.archived,
    a.path,
    a.sha256,
    a.kept
from series s
join retention r using (dataset, timeframe_s)
left join archive a
    on a.series_id = s.series_id
    and a.during && tstzrange(%(start)s, %(end)s)
    and upper(a.during) <= r.dropped_before
    and a.verified_at is not null
where s.instrument_id = %(instrument_id)s
    and s.dataset = %(dataset)s
    and s.timeframe_s = %(timeframe_s)s
    and r.archived && tstzrange(%(start)s, %(end)s)
-- A longer chunk, which may begin before one that was dropped, has rows only from the end of that on.
order by upper(a.during)
