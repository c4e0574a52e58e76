-- Multiply all trade-built candles of an instrument in one rollup's table by powers of ten.
update {table}
set open = open * %(price_factor)s::float8,
    high = high * %(price_factor)s::float8,
    low = low * %(price_factor)s::float8,
    close = close * %(price_factor)s::float8,
    volume = volume * %(amount_factor)s::float8,
    bought = bought * %(amount_factor)s::float8,
    sold = sold * %(amount_factor)s::float8
where instrument_id = %(instrument_id)s
