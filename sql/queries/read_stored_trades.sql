-- One row: the trades of an instrument from first to last as arrays, a column each, in any order; NULLs if
-- there are none. Arrays are decoded without a Python object a trade, but for the ids that are texts.
select
    array_agg(time), array_agg(trade_id), array_agg(price), array_agg(amount), array_agg(side),
    case when %(with_texts)s then array_agg(id_text) end
from trade
where instrument_id = %(instrument_id)s
    and time between %(first)s and %(last)s
