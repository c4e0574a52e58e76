-- A row is a range that was asked for and could not be had; asked for in vain again, it waits longer.
insert into unavailable (series_id, during, cause, next_try_at)
select %(series_id)s, during, %(cause)s, now() + %(wait)s
from unnest(
    %(ranges)s::tstzmultirange - (select covered from coverage where series_id = %(series_id)s)
) as during
on conflict (series_id, during) do update
set cause = excluded.cause,
    attempts = unavailable.attempts + 1,
    last_at = now(),
    next_try_at = now() + least(%(wait)s * power(2, least(unavailable.attempts, 12)), interval '30 days')
