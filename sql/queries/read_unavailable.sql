-- A row is a range of a series that was asked for in vain and reaches into the window, the latest attempt first.
select during, cause, attempts, next_try_at
from unavailable
where series_id = %(series_id)s and during && %(window)s::tstzrange
order by last_at desc, lower(during) desc
