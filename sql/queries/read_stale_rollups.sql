-- One row: the ids of the notes that say that rows of a dataset were written in a range since the rollups over it
-- were refreshed, as an array; NULL if there are none.
select array_agg(stale_id)
from stale_rollup
where dataset = %(dataset)s and during && %(span)s::tstzrange
