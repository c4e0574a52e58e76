-- A row is why rows of a series in a range were rejected: the checks they failed, how many they are, the first and the
-- last time of one. A row that tells no believable time, or one that was not asked for, counts when it was first seen.
select array_to_string(reasons, ' '), count(*), min(at), max(at)
from (
    select
        reasons,
        case when 'time_outside_window' = any(reasons) then first_seen_at else coalesce(time, first_seen_at) end as at
    from quarantine
    where series_id = %(series_id)s
) as rejected
where at >= %(start)s and at < %(end)s
group by reasons
order by 3, 1
