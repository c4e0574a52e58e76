-- One row: the server's time, and the time before which retention has dropped the 1m candles.
select now(), (select dropped_before from retention where dataset = 'ohlcv' and timeframe_s = 60)
