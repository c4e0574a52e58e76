-- One row: the time before which the exchange has nothing of a series, null if not known, and where what is
-- covered of it begins, null if nothing is.
select s.begins_at, lower(c.covered)
from series s
join coverage c using (series_id)
where s.series_id = %(series_id)s
