-- A row is an instrument of which trades or snapshots were written since the features over them were computed.
select i.instrument_id, i.exchange, i.symbol
from instrument i
where exists (select from stale_feature s where s.instrument_id = i.instrument_id and not isempty(s.during))
order by i.instrument_id
