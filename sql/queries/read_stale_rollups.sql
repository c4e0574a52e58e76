-- A row is a range of an instrument's rows of a dataset written since the rollups over it were refreshed.
select stale_id, instrument_id, during
from stale_rollup
where dataset = %(dataset)s and not isempty(during)
order by stale_id
