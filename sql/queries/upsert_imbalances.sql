-- Write imbalances of an instrument, which lie from start to end, but those that are stored so already.
insert into imbalance (
    instrument_id, time,
    book_imbalance_1s, book_imbalance_5s, book_imbalance_15s, book_imbalance_60s, trade_imbalance_1s,
    trade_imbalance_5s, trade_imbalance_15s, trade_imbalance_60s
)
select
    %(instrument_id)s, time,
    nullif(book_imbalance_1s, 'NaN'), nullif(book_imbalance_5s, 'NaN'), nullif(book_imbalance_15s, 'NaN'),
    nullif(book_imbalance_60s, 'NaN'), nullif(trade_imbalance_1s, 'NaN'), nullif(trade_imbalance_5s, 'NaN'),
    nullif(trade_imbalance_15s, 'NaN'), nullif(trade_imbalance_60s, 'NaN')
from unnest(
    %(time)s::timestamptz[],
    %(book_imbalance_1s)s::float8[], %(book_imbalance_5s)s::float8[], %(book_imbalance_15s)s::float8[],
    %(book_imbalance_60s)s::float8[], %(trade_imbalance_1s)s::float8[], %(trade_imbalance_5s)s::float8[],
    %(trade_imbalance_15s)s::float8[], %(trade_imbalance_60s)s::float8[]
) as n (
    time,
    book_imbalance_1s, book_imbalance_5s, book_imbalance_15s, book_imbalance_60s, trade_imbalance_1s,
    trade_imbalance_5s, trade_imbalance_15s, trade_imbalance_60s
)
except
select
    instrument_id, time,
    book_imbalance_1s, book_imbalance_5s, book_imbalance_15s, book_imbalance_60s, trade_imbalance_1s,
    trade_imbalance_5s, trade_imbalance_15s, trade_imbalance_60s
from imbalance
where instrument_id = %(instrument_id)s
    and time >= %(start)s
    and time < %(end)s
on conflict (instrument_id, time) do update
set book_imbalance_1s = excluded.book_imbalance_1s,
    book_imbalance_5s = excluded.book_imbalance_5s,
    book_imbalance_15s = excluded.book_imbalance_15s,
    book_imbalance_60s = excluded.book_imbalance_60s,
    trade_imbalance_1s = excluded.trade_imbalance_1s,
    trade_imbalance_5s = excluded.trade_imbalance_5s,
    trade_imbalance_15s = excluded.trade_imbalance_15s,
    trade_imbalance_60s = excluded.trade_imbalance_60s
