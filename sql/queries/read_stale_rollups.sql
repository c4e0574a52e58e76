-- A row is a range of an instrument's 1m candles written since the rollups over it were refreshed.
select stale_id, instrument_id, during
from stale_rollup
where not isempty(during)
order by stale_id
