-- Imbalances of one instrument, a row a second, oldest first, in COPY BINARY: where the second begins and eight
-- float8 from -1 to 1, or NaN for none. COPY takes no parameters: values are put in by psycopg.sql.
copy (
    select
        time,
        coalesce(book_imbalance_1s, 'NaN'),
        coalesce(book_imbalance_5s, 'NaN'),
        coalesce(book_imbalance_15s, 'NaN'),
        coalesce(book_imbalance_60s, 'NaN'),
        coalesce(trade_imbalance_1s, 'NaN'),
        coalesce(trade_imbalance_5s, 'NaN'),
        coalesce(trade_imbalance_15s, 'NaN'),
        coalesce(trade_imbalance_60s, 'NaN')
    from imbalance
    where instrument_id = {instrument_id}
        and time >= {start}
        and time < {end}
    order by time
) to stdout (format binary)
