-- A row is a range of a series whose rows came from elsewhere than its exchange, the oldest first.
select during, source
from substitute
where series_id = %(series_id)s and during && %(window)s::tstzrange
order by lower(during)
