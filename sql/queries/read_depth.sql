-- One row: how many levels the deepest side of an instrument's order books has from start to end, 0 without any.
select
    coalesce(
        max(greatest(cardinality(bid_price), cardinality(bid_amount), cardinality(ask_price), cardinality(ask_amount))), 0
    )
from order_book
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
