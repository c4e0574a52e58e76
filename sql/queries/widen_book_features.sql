-- Multiply all features of an instrument's order books that are prices or amounts by powers of ten.
update order_book_1s
set bid_price = bid_price * %(price_factor)s::float8,
    ask_price = ask_price * %(price_factor)s::float8,
    mid = mid * %(price_factor)s::float8,
    spread = spread * %(price_factor)s::float8,
    microprice = microprice * %(price_factor)s::float8,
    bid_amount = bid_amount * %(amount_factor)s::float8,
    ask_amount = ask_amount * %(amount_factor)s::float8,
    bid_amount_5 = bid_amount_5 * %(amount_factor)s::float8,
    ask_amount_5 = ask_amount_5 * %(amount_factor)s::float8,
    bid_amount_20 = bid_amount_20 * %(amount_factor)s::float8,
    ask_amount_20 = ask_amount_20 * %(amount_factor)s::float8,
    bid_depth_5bp = bid_depth_5bp * %(amount_factor)s::float8,
    ask_depth_5bp = ask_depth_5bp * %(amount_factor)s::float8,
    bid_depth_10bp = bid_depth_10bp * %(amount_factor)s::float8,
    ask_depth_10bp = ask_depth_10bp * %(amount_factor)s::float8,
    bid_depth_25bp = bid_depth_25bp * %(amount_factor)s::float8,
    ask_depth_25bp = ask_depth_25bp * %(amount_factor)s::float8,
    bid_depth_50bp = bid_depth_50bp * %(amount_factor)s::float8,
    ask_depth_50bp = ask_depth_50bp * %(amount_factor)s::float8
where instrument_id = %(instrument_id)s
