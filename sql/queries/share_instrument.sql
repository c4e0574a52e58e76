-- Keep an instrument's scale as it is until the transaction ends, as all its writers do.
select
from instrument
where instrument_id = %(instrument_id)s
for share
