-- Add what was answered to a series' coverage, and what is new to its counts; and bump its revision where a
-- reader could already have seen otherwise: rows changed or appeared, or a gap closed, before the end of what
-- was covered. Returns the revision, and whether it was bumped.
with before as (
    select covered
    from coverage
    where series_id = %(series_id)s
),

news as (
    select
        %(changed_known)s
            or coalesce(lower(%(answered)s::tstzmultirange - covered) < upper(covered), false) as is_news
    from before
),

covered as (
    update coverage
    set covered = covered + %(answered)s::tstzmultirange,
        rows = rows + %(inserted)s,
        rejected = rejected + %(quarantined)s,
        updated_at = now()
    where series_id = %(series_id)s
),

had as (
    delete from unavailable
    using before
    where series_id = %(series_id)s
        and during && %(answered)s::tstzmultirange
        and (
            during <@ %(answered)s::tstzmultirange
            -- What was asked for in vain may be answered in parts; what is noted of empty ranges lies in coverage.
            or cause <> 'exchange_empty' and during <@ (covered + %(answered)s::tstzmultirange)
        )
)

update series
set revision = revision + is_news::integer
from news
where series_id = %(series_id)s
returning revision, is_news
