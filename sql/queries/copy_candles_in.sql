-- Write candles of a range that the coverage ledger proves was never written.
copy ohlcv (instrument_id, timeframe_s, time, open, high, low, close, volume) from stdin (format binary)
