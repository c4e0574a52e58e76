-- Forget a file of the archive, unless retention has dropped its rows.
delete from archive a
using series s
where s.series_id = a.series_id
    and a.path = %(path)s
    and not exists (
        select from retention r
        where r.dataset = s.dataset and r.timeframe_s = s.timeframe_s and upper(a.during) <= r.dropped_before
    )
