-- One row: imbalances of one instrument, a second each, oldest first, as arrays: where the second begins and eight
-- from -1 to 1, or NaN for none; NULLs if there are none.
select
    array_agg(time order by time),
    array_agg(coalesce(book_imbalance_1s, 'NaN') order by time),
    array_agg(coalesce(book_imbalance_5s, 'NaN') order by time),
    array_agg(coalesce(book_imbalance_15s, 'NaN') order by time),
    array_agg(coalesce(book_imbalance_60s, 'NaN') order by time),
    array_agg(coalesce(trade_imbalance_1s, 'NaN') order by time),
    array_agg(coalesce(trade_imbalance_5s, 'NaN') order by time),
    array_agg(coalesce(trade_imbalance_15s, 'NaN') order by time),
    array_agg(coalesce(trade_imbalance_60s, 'NaN') order by time)
from imbalance
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
