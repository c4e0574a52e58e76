-- Multiply all trades of an instrument by powers of ten.
update trade
set price = price * %(price_factor)s::float8,
    amount = amount * %(amount_factor)s::float8
where instrument_id = %(instrument_id)s
