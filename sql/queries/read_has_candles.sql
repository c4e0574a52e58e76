-- One row: whether any candle of a series opens from first to last.
select exists (
    select
    from ohlcv
    where instrument_id = %(instrument_id)s
        and timeframe_s = %(timeframe_s)s
        and time between %(first)s and %(last)s
)
