-- A row is a time of at least so many seconds, all of it in a multirange, in which the best prices and amounts of an
-- instrument's order book stayed the same while so many trades or more were made: from when to when, how many
-- snapshots of it there are, and how many trades.
with snapshot as (
    select
        time,
        coalesce(
            (bid_price[1], bid_amount[1], ask_price[1], ask_amount[1])
            is distinct from lag((bid_price[1], bid_amount[1], ask_price[1], ask_amount[1])) over (order by time),
            true
        ) as is_new
    from order_book
    where instrument_id = %(instrument_id)s
        and time >= %(start)s
        and time < %(end)s
),

still as (
    select min(time) as start, lead(min(time), 1, %(end)s::timestamptz) over (order by min(time)) as until
    from (select time, count(*) filter (where is_new) over (order by time) as state from snapshot) as numbered
    group by state
),

known as (
    select greatest(s.start, lower(c)) as start, least(s.until, upper(c)) as until
    from still s
    join unnest(%(covered)s::tstzmultirange) as c on c && tstzrange(s.start, s.until)
)

select k.start, k.until, b.snapshots, t.trades
from known k
cross join lateral (
    select count(*) as snapshots
    from snapshot
    where time >= k.start and time < k.until
) b
cross join lateral (
    select count(*) as trades
    from trade
    where instrument_id = %(instrument_id)s
        and time > k.start
        and time < k.until
) t
where k.until - k.start >= make_interval(secs => %(least_s)s)
    and t.trades >= %(least_trades)s
order by k.start
