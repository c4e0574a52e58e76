-- Remove an instrument's imbalances of the seconds whose windows reach into a range, where none has a value.
delete from imbalance
where instrument_id = %(instrument_id)s
    and time > %(start)s::timestamptz - interval '1 second'
    and time < %(end)s::timestamptz + interval '59 seconds'
    and coalesce(
        book_imbalance_1s, book_imbalance_5s, book_imbalance_15s, book_imbalance_60s,
        trade_imbalance_1s, trade_imbalance_5s, trade_imbalance_15s, trade_imbalance_60s
    ) is null
