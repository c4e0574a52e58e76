-- A row is a range of an instrument's rows of a dataset written since the features over it were computed.
select s.stale_id, s.instrument_id, i.exchange, i.symbol, s.dataset, lower(s.during), upper(s.during)
from stale_feature s
join instrument i using (instrument_id)
where not isempty(s.during)
order by s.instrument_id, s.stale_id
