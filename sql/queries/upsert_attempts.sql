-- A row is a range, covered or not, that was asked for once more in vain: as often as given, and the more often, the
-- longer it waits. It takes the place of what was noted of any part of it alone.
with locked as materialized (
    -- Two that note at once take turns: neither waits for a row that the other has.
    select from coverage where series_id = %(series_id)s for update
),

asked as materialized (
    select during, attempts
    from locked
    cross join unnest(%(ranges)s::tstzrange[], %(attempts)s::integer[]) as a (during, attempts)
),

replaced as (
    delete from unavailable u
    using asked a
    where u.series_id = %(series_id)s and u.during <@ a.during and u.during <> a.during
)

insert into unavailable (series_id, during, cause, attempts, next_try_at)
select
    %(series_id)s,
    during,
    %(cause)s,
    attempts,
    now() + least(%(wait)s::interval * power(2, least(attempts - 1, 12)), interval '30 days')
from asked
on conflict (series_id, during) do update
set cause = excluded.cause,
    attempts = excluded.attempts,
    last_at = now(),
    next_try_at = excluded.next_try_at
