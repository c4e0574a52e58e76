-- Take a range out of all that is known of a series, and so many rows off its count: what of it was fetched, could
-- not be had, came from elsewhere or is in files of the archive, where the series begins, if that is in the range or
-- after it, and what was wanted, if an end of that is in the range; without what was fetched last, the series is no
-- longer followed. Bumps the revision where a reader could have seen any of it. Returns the revision, whether it was
-- bumped, and what of the range was covered.
with known as (
    select
        covered * tstzmultirange(%(during)s::tstzrange) as covered,
        coalesce(upper(covered) > upper(%(during)s::tstzrange), false) as keeps_end
    from coverage
    where series_id = %(series_id)s
),

covered as (
    update coverage
    set covered = covered - tstzmultirange(%(during)s::tstzrange),
        updated_at = now(),
        rows = rows - %(deleted)s
    where series_id = %(series_id)s
),

refused as (
    delete from unavailable
    where series_id = %(series_id)s and during && %(during)s::tstzrange
    returning *
),

refused_outside as (
    insert into unavailable (series_id, during, cause, attempts, first_at, last_at, next_try_at)
    select series_id, rest, cause, attempts, first_at, last_at, next_try_at
    from refused
    cross join unnest(tstzmultirange(during) - tstzmultirange(%(during)s::tstzrange)) as rest
    on conflict (series_id, during) do nothing
),

substituted as (
    delete from substitute
    where series_id = %(series_id)s and during && %(during)s::tstzrange
    returning *
),

substituted_outside as (
    insert into substitute (series_id, during, source, recorded_at)
    select series_id, rest, source, recorded_at
    from substituted
    cross join unnest(tstzmultirange(during) - tstzmultirange(%(during)s::tstzrange)) as rest
    on conflict (series_id, during) do nothing
),

archived as (
    update archive
    set kept = kept - tstzmultirange(%(during)s::tstzrange)
    where series_id = %(series_id)s and during && %(during)s::tstzrange
),

wanted as (
    select tstzmultirange(tstzrange(wanted_from, wanted_until)) - tstzmultirange(%(during)s::tstzrange) as rest
    from series
    where series_id = %(series_id)s
),

news as (
    select
        %(deleted)s > 0
            or not isempty(known.covered)
            or exists (select from refused)
            or exists (select from substituted) as is_news
    from known
)

update series
set revision = revision + news.is_news::integer,
    begins_at = case when begins_at < lower(%(during)s::tstzrange) then begins_at end,
    -- Where nothing was wanted, that has no end.
    wanted_from = lower(wanted.rest),
    wanted_until = upper(wanted.rest),
    asked_at = case when known.keeps_end then asked_at end,
    asked_before = case when known.keeps_end then asked_before end
from news, known, wanted
where series_id = %(series_id)s
returning revision, is_news, known.covered
