-- Multiply all levels of all snapshots of an instrument by powers of ten.
update order_book
set bid_price = array(select v * %(price_factor)s::float8 from unnest(bid_price) with ordinality as l (v, i) order by i),
    bid_amount = array(select v * %(amount_factor)s::float8 from unnest(bid_amount) with ordinality as l (v, i) order by i),
    ask_price = array(select v * %(price_factor)s::float8 from unnest(ask_price) with ordinality as l (v, i) order by i),
    ask_amount = array(select v * %(amount_factor)s::float8 from unnest(ask_amount) with ordinality as l (v, i) order by i)
where instrument_id = %(instrument_id)s
