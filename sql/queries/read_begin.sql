-- One row: the time before which the exchange has nothing of a series, null if not known; where what is
-- covered of it begins, null if nothing is; and when that was last written.
select s.begins_at, lower(c.covered), c.updated_at
from series s
join coverage c using (series_id)
where s.series_id = %(series_id)s
