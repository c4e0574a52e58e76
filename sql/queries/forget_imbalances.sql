-- Empty an instrument's book or trade imbalances of the seconds whose windows, up to 60 s, reach into a range.
update imbalance
set book_imbalance_1s = case when not %(of_books)s then book_imbalance_1s end,
    book_imbalance_5s = case when not %(of_books)s then book_imbalance_5s end,
    book_imbalance_15s = case when not %(of_books)s then book_imbalance_15s end,
    book_imbalance_60s = case when not %(of_books)s then book_imbalance_60s end,
    trade_imbalance_1s = case when %(of_books)s then trade_imbalance_1s end,
    trade_imbalance_5s = case when %(of_books)s then trade_imbalance_5s end,
    trade_imbalance_15s = case when %(of_books)s then trade_imbalance_15s end,
    trade_imbalance_60s = case when %(of_books)s then trade_imbalance_60s end
where instrument_id = %(instrument_id)s
    and time > %(start)s::timestamptz - interval '1 second'
    and time < %(end)s::timestamptz + interval '59 seconds'
