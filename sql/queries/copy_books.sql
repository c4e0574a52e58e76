-- Snapshots of one instrument's order book, oldest first, in COPY BINARY: time, when it was received, nonce (-1 for
-- none), and four float8[] in whole ticks and lots, each cut or filled up with NaN to one depth, so that all rows
-- have one length. COPY takes no parameters: values are put in by psycopg.sql.
copy (
    select
        time,
        received_at,
        coalesce(nonce, -1),
        (bid_price || array_fill('NaN'::float8, array[{depth}]))[1:{depth}],
        (bid_amount || array_fill('NaN'::float8, array[{depth}]))[1:{depth}],
        (ask_price || array_fill('NaN'::float8, array[{depth}]))[1:{depth}],
        (ask_amount || array_fill('NaN'::float8, array[{depth}]))[1:{depth}]
    from order_book
    where instrument_id = {instrument_id}
        and time >= {start}
        and time < {end}
    order by time
) to stdout (format binary)
