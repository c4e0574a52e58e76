-- Remove the candles of a series that open from start to end.
delete from ohlcv
where instrument_id = %(instrument_id)s
    and timeframe_s = %(timeframe_s)s
    and time >= %(start)s
    and time < %(end)s
