-- Write trades of one instrument in the place of those stored with the same time and id.
insert into trade (instrument_id, time, trade_id, price, amount, side, id_text)
select %(instrument_id)s, time, trade_id, price, amount, side, id_text
from unnest(
    %(time)s::timestamptz[], %(trade_id)s::bigint[], %(price)s::float8[], %(amount)s::float8[],
    %(side)s::smallint[], %(id_text)s::text[]
) as n (time, trade_id, price, amount, side, id_text)
on conflict (instrument_id, time, trade_id, id_text) do update
set price = excluded.price,
    amount = excluded.amount,
    side = excluded.side
