-- Trades of one instrument, in their order, in COPY BINARY: the id is the whole number that the exchange gave,
-- or 0 where that is a text. Price and amount are in whole ticks and lots. COPY takes no parameters: values are
-- put in by psycopg.sql.
copy (
    select time, trade_id, price, amount, side
    from trade
    where instrument_id = {instrument_id}
        and time >= {start}
        and time < {end}
    order by time, trade_id, id_text
) to stdout (format binary)
