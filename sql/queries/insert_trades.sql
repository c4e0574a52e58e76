-- Write a batch of trades of one instrument where none is stored: what a COPY does, for a server without one.
insert into trade (instrument_id, time, trade_id, price, amount, side, id_text)
select %(instrument_id)s, time, trade_id, price, amount, side, id_text
from unnest(
    %(time)s::timestamptz[], %(trade_id)s::bigint[], %(price)s::float8[], %(amount)s::float8[],
    %(side)s::smallint[], %(id_text)s::text[]
) as n (time, trade_id, price, amount, side, id_text)
