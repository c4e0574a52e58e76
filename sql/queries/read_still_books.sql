-- A row is a time of at least so many seconds, all of it in a part of a multirange, in which the best prices and amounts
-- of an instrument's order book stayed the same while so many trades or more were made: from when to when, how many
-- snapshots of it there are, and how many trades. It ends with the last such snapshot: the next one may be long after.
with snapshot as (
    select
        time,
        lag(time) over in_order is null
            or (bid_price[1], bid_amount[1], ask_price[1], ask_amount[1])
            is distinct from lag((bid_price[1], bid_amount[1], ask_price[1], ask_amount[1])) over in_order
            or not %(covered)s::tstzmultirange @> tstzrange(lag(time) over in_order, time, '[]') as is_new
    from order_book
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
        and %(covered)s::tstzmultirange @> time
    window in_order as (order by time)
),

still as (
    select min(n.time) as start, max(n.time) as until, count(*) as snapshots
    from (select time, count(*) filter (where is_new) over (order by time) as state from snapshot) as n
    group by n.state
)

select s.start, s.until, s.snapshots, t.trades
from still s
cross join lateral (
    select count(*) as trades
    from trade
    where instrument_id = %(instrument_id)s
        and time > s.start
        and time < s.until
) t
where s.until - s.start >= make_interval(secs => %(least_s)s)
    and t.trades >= %(least_trades)s
order by s.start
