-- A row is a range that was asked for and could not be had; asked for in vain again, alone or with what lies around
-- it, it waits longer.
insert into unavailable (series_id, during, cause, attempts, next_try_at)
select
    %(series_id)s,
    a.during,
    %(cause)s,
    1 + before.attempts,
    now() + least(%(wait)s::interval * power(2, least(before.attempts, 12)), interval '30 days')
from unnest(
    %(ranges)s::tstzmultirange - (select covered from coverage where series_id = %(series_id)s)
) as a (during)
cross join lateral (
    select coalesce(max(u.attempts), 0) as attempts
    from unavailable u
    where u.series_id = %(series_id)s and u.during @> a.during and u.cause <> 'exchange_empty'
) before
on conflict (series_id, during) do update
set cause = excluded.cause,
    attempts = excluded.attempts,
    last_at = now(),
    next_try_at = excluded.next_try_at
