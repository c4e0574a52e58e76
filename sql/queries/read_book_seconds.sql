-- One row: the seconds for which an instrument has features of its order books, and the summed amounts of the best
-- five levels, as arrays in the same order; NULLs if there are none.
select array_agg(time order by time), array_agg(bid_amount_5 order by time), array_agg(ask_amount_5 order by time)
from order_book_1s
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
