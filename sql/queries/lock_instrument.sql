-- Lock an instrument's scale against all writers, and read it.
select price_decimals, amount_decimals
from instrument
where instrument_id = %(instrument_id)s
for update
