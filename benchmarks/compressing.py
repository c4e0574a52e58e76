"""How much room recorded candles take once they are compressed."""

from typing import Final

import pandas as pd

from benchmarks.figure import Figure, Outcome, Skipped
from benchmarks.history import new_series, write_history
from benchmarks.setting import Setting
from tapehouse.candle import VALUE_COLUMNS, CandleBatch
from tapehouse.store.connection import Connection

_KEY: Final = "bytes_per_compressed_candle"


def bytes_per_compressed_candle(setting: Setting) -> Outcome:
    """Bytes a candle of the recorded files, indexes and all else included, against those before compression."""
    paths = sorted(setting.recordings.glob("klines/binance_usdm_1m/*-1m-futures.feather"))
    if not paths:
        return Skipped(_KEY, f"{setting.recordings} holds no recordings of klines/binance_usdm_1m")
    with setting.emptied_database() as connection:
        recordings = [_recorded(pd.read_feather(path)) for path in paths]
        for candles in recordings:
            # The scale grows to what the data needs, as in an ingest.
            write_history(connection, new_series(connection, price_decimals=0, amount_decimals=0), candles)
        count = sum(map(len, recordings))
        before, after = (total / count for total in _compressed_bytes(connection))
    ratio = after / before
    return Figure(_KEY, after, before, "B", ratio, (ratio, ratio), "the same before compression", f"{count:,} candles")


def _recorded(frame: pd.DataFrame) -> CandleBatch:
    times_us = frame["date"].to_numpy("datetime64[us]").view("int64")
    return CandleBatch(times_us, *(frame[name].to_numpy("float64") for name in VALUE_COLUMNS))


def _compressed_bytes(connection: Connection) -> tuple[int, int]:
    """The bytes that all candles took before compression and take after it."""
    connection.execute("select compress_chunk(chunk) from show_chunks('ohlcv') as chunk")
    row = connection.execute(
        "select sum(before_compression_total_bytes)::bigint, sum(after_compression_total_bytes)::bigint "
        "from chunk_compression_stats('ohlcv')"
    ).fetchone()
    assert row is not None
    return row
