-- A row is what was written of a dataset of an instrument since the features over it were computed, by all notes that
-- begin in the same hour and end in the same hour: their first and their last time, and their ids. Samplers leave
-- a note every few seconds.
select dataset, min(lower(during)), max(upper(during)), array_agg(stale_id)
from stale_feature
where instrument_id = %(instrument_id)s
    and not isempty(during)
group by dataset, date_trunc('hour', lower(during)), date_trunc('hour', upper(during))
