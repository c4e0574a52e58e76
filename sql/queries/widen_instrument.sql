-- Set an instrument's decimals; what was read at the old ones is out of date in all its series.
with widened as (
    update instrument
    set price_decimals = %(price_decimals)s,
        amount_decimals = %(amount_decimals)s
    where instrument_id = %(instrument_id)s
)

update series
set revision = revision + 1
where instrument_id = %(instrument_id)s
