"""How much room recorded candles, trades and order books take once they are compressed.

Indexes and all else are counted in; the baseline is what the same rows took before.
"""

from dataclasses import replace
from typing import Final, Literal

import pandas as pd

from benchmarks.figure import Figure, Outcome, Skipped
from benchmarks.history import write_candle_history, write_trade_history
from benchmarks.recordings import RecordedMarket, recorded_session
from benchmarks.series import new_book_series, new_candle_series, new_trade_series
from benchmarks.setting import Setting
from tapehouse.book import BookBatch
from tapehouse.candle import VALUE_COLUMNS, CandleBatch
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection, one_row

_PHASE_MS: Final = 100
# Half a day back, the session lies within one UTC day.
_TO_ONE_DAY_US: Final = 12 * 3_600_000_000


def bytes_per_compressed_candle(setting: Setting) -> Outcome:
    """Bytes a candle of the recorded files."""
    key = "bytes_per_compressed_candle"
    paths = sorted(setting.recordings.glob("klines/binance_usdm_1m/*-1m-futures.feather"))
    if not paths:
        return Skipped(key, f"{setting.recordings} holds no recordings of klines/binance_usdm_1m")
    with setting.emptied_database() as connection:
        recordings = [_recorded(pd.read_feather(path)) for path in paths]
        for candles in recordings:
            # The scale grows to what the data needs, as in an ingest.
            write_candle_history(
                connection, new_candle_series(connection, price_decimals=0, amount_decimals=0), candles
            )
        return _figure(connection, key, "ohlcv", sum(map(len, recordings)), "candles")


def bytes_per_compressed_trade(setting: Setting) -> Outcome:
    """Bytes a trade of the recorded session: two markets, a chunk each side of midnight."""
    key = "bytes_per_compressed_trade"
    session = recorded_session(setting.recordings)
    if not session:
        return _no_session(setting, key)
    with setting.emptied_database() as connection:
        count = 0
        for market in session:
            series = new_trade_series(
                connection, price_decimals=market.price_decimals, amount_decimals=market.amount_decimals
            )
            trades = market.trades()
            write_trade_history(connection, series, trades)
            count += len(trades)
        return _figure(connection, key, "trade", count, "trades")


def bytes_per_compressed_snapshot_20(setting: Setting) -> Outcome:
    """Bytes a snapshot of 20 levels a side, of the recorded session once a second.

    The session is eleven minutes long, in two chunks, whose fixed costs (the first pages of table and indexes)
    would weigh on few rows as they never do on a day of 86,400. So each of the ten ways to sample it once a
    second, 100 ms apart, is written as an instrument of its own: compression works within an instrument, so
    none gains from another. What the session comes to by itself, in a chunk of its own, is noted beside it.
    """
    key = "bytes_per_compressed_snapshot_20"
    session = recorded_session(setting.recordings)
    if not session:
        return _no_session(setting, key)
    phases_ms = range(0, setting.sizes.book_phases * _PHASE_MS, _PHASE_MS)
    sampled = [(market, market.books(offset_ms=phase_ms)) for phase_ms in phases_ms for market in session]
    with setting.emptied_database() as connection:
        count = sum(_write_books(connection, market, _on_one_day(books)) for market, books in sampled[: len(session)])
        _, alone = _compressed_bytes(connection, "order_book")
    note = f"snapshots; the session alone in one chunk: {alone / count:.0f} B"
    with setting.emptied_database() as connection:
        count = sum(_write_books(connection, market, books) for market, books in sampled)
        return _figure(connection, key, "order_book", count, note)


def _recorded(frame: pd.DataFrame) -> CandleBatch:
    times_us = frame["date"].to_numpy("datetime64[us]").view("int64")
    return CandleBatch(times_us, *(frame[name].to_numpy("float64") for name in VALUE_COLUMNS))


def _write_books(connection: Connection, market: RecordedMarket, books: BookBatch) -> int:
    """Write the snapshots of a market as an instrument of its own; returns how many there are."""
    series = new_book_series(connection, price_decimals=market.price_decimals, amount_decimals=market.amount_decimals)
    write_books(connection, series, books, asked=[], covered=[])
    return len(books)


def _on_one_day(books: BookBatch) -> BookBatch:
    return replace(books, time_us=books.time_us - _TO_ONE_DAY_US, received_us=books.received_us - _TO_ONE_DAY_US)


def _no_session(setting: Setting, key: str) -> Skipped:
    return Skipped(key, f"{setting.recordings} holds no recordings of l2_trades/binance_spot")


def _figure(
    connection: Connection, key: str, table: Literal["ohlcv", "trade", "order_book"], count: int, what: str
) -> Figure:
    before, after = (total / count for total in _compressed_bytes(connection, table))
    ratio = after / before
    return Figure(key, after, before, "B", ratio, (ratio, ratio), "the same before compression", f"{count:,} {what}")


def _compressed_bytes(connection: Connection, table: str) -> tuple[int, int]:
    """The bytes that all rows took before compression and take after it."""
    connection.execute("select compress_chunk(chunk) from show_chunks(%s::regclass) as chunk", [table])
    return one_row(
        connection.execute(
            "select sum(before_compression_total_bytes)::bigint, sum(after_compression_total_bytes)::bigint "
            "from chunk_compression_stats(%s::regclass)",
            [table],
        )
    )
