-- One row: trades of one instrument, in their order, as arrays, prices and amounts in whole ticks and lots; NULLs if
-- there are none. The ids are numbers by trade_id, or texts by id.
select array_agg(time), array_agg({ids}), array_agg(price), array_agg(amount), array_agg(side)
from (
    select
        time,
        trade_id,
        case when id_text = '' then trade_id::text else id_text end as id,
        price,
        amount,
        side
    from trade
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
    order by time, trade_id, id_text
) as ordered
