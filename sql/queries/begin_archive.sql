-- Note that a file is being made of a series' rows in a range, in place of what was known of files there: but for those
-- whose rows retention has dropped, into whose time chunks reach that are longer than they were before.
with former as (
    delete from archive a
    using series s
    left join retention r on r.dataset = s.dataset and r.timeframe_s = s.timeframe_s
    where s.series_id = %(series_id)s
        and a.series_id = s.series_id
        and a.during && %(during)s::tstzrange
        and a.during <> %(during)s::tstzrange
        and (r.dropped_before is null or upper(a.during) > r.dropped_before)
)

insert into archive (series_id, during, kept)
values (%(series_id)s, %(during)s, tstzmultirange(%(during)s::tstzrange))
on conflict (series_id, during) do update
set kept = excluded.kept,
    path = null,
    rows = null,
    sha256 = null,
    verified_at = null
