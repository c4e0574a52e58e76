-- One row: by how much the price moved in a range at most where the same base and quote are traded elsewhere: the
-- highest price of candles of a timeframe over their lowest, less 1; NULL where nothing was.
select max(other.highest / other.lowest - 1)
from instrument i
join instrument o on o.base = i.base and o.quote = i.quote and o.instrument_id <> i.instrument_id
cross join lateral (
    select max(c.high) as highest, min(c.low) as lowest
    from ohlcv c
    where c.instrument_id = o.instrument_id
        and c.timeframe_s = %(timeframe_s)s
        and c.time >= %(start)s
        and c.time < %(end)s
        and c.volume > 0
) as other
where i.instrument_id = %(instrument_id)s
