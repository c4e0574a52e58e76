-- Note that a file is being made of a series' rows in a range, in place of what was known of files there.
with former as (
    delete from archive
    where series_id = %(series_id)s and during && %(during)s::tstzrange and during <> %(during)s::tstzrange
)

insert into archive (series_id, during, kept)
values (%(series_id)s, %(during)s, tstzmultirange(%(during)s::tstzrange))
on conflict (series_id, during) do update
set kept = excluded.kept,
    path = null,
    rows = null,
    sha256 = null,
    verified_at = null
