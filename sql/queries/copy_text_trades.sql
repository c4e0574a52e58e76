-- Trades of one instrument, in their order, in COPY BINARY: the id is a text, with blanks up to that many bytes,
-- so that all rows have one length. Price and amount are in whole ticks and lots. COPY takes no parameters:
-- values are put in by psycopg.sql.
copy (
    select time, id || repeat(' ', {id_bytes} - octet_length(id)), price, amount, side
    from trade
    cross join lateral (select case when id_text = '' then trade_id::text else id_text end as id) as i
    where instrument_id = {instrument_id}
        and time >= {start}
        and time < {end}
    order by time, trade_id, id_text
) to stdout (format binary)
