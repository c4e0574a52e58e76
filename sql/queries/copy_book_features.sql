-- Features of one instrument's order books, a row a second, oldest first, in COPY BINARY: where the second begins
-- and 23 float8, prices in ticks, amounts in lots, imbalances from -1 to 1 or NaN for none. COPY takes no
-- parameters: values are put in by psycopg.sql.
copy (
    select
        time,
        bid_price,
        bid_amount,
        ask_price,
        ask_amount,
        mid,
        spread,
        microprice,
        bid_amount_5,
        ask_amount_5,
        bid_amount_20,
        ask_amount_20,
        bid_depth_5bp,
        ask_depth_5bp,
        coalesce(imbalance_5bp, 'NaN'),
        bid_depth_10bp,
        ask_depth_10bp,
        coalesce(imbalance_10bp, 'NaN'),
        bid_depth_25bp,
        ask_depth_25bp,
        coalesce(imbalance_25bp, 'NaN'),
        bid_depth_50bp,
        ask_depth_50bp,
        coalesce(imbalance_50bp, 'NaN')
    from order_book_1s
    where instrument_id = {instrument_id}
        and time >= {start}
        and time < {end}
    order by time
) to stdout (format binary)
