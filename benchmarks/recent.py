"""A store as a bot finds it: a year of 1m candles of one instrument, and its ticks of the last hours, that end now."""

from datetime import UTC, datetime, timedelta

from benchmarks.history import (
    made_up_books,
    made_up_candles,
    made_up_trades,
    write_book_history,
    write_candle_history,
    write_trade_history,
)
from benchmarks.series import new_candle_series
from benchmarks.setting import Sizes
from tapehouse.instrument import Instrument
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import ensure_book_series, ensure_trade_series
from tapehouse.store.rollups import refresh_rollups
from tapehouse.timeframe import timeframe


def write_year(connection: Connection, sizes: Sizes) -> Instrument:
    """An instrument with 1m candles until now and their rollups, old chunks compressed as by the store's own jobs."""
    minute = timeframe("1m")
    series = new_candle_series(connection)
    start = minute.floor(datetime.now(UTC)) - sizes.year_candles * minute.length
    write_candle_history(connection, series, made_up_candles(sizes.year_candles, start=start))
    refresh_rollups(connection)
    connection.execute(
        "select compress_chunk(chunk) from show_chunks('ohlcv', older_than => interval '7 days') as chunk"
    )
    connection.execute("""call compress_rollups(0, '{"after": "30 days"}')""")
    connection.execute("vacuum analyze ohlcv")
    return series.instrument


def write_ticks(connection: Connection, instrument: Instrument, sizes: Sizes, *, trades_per_second: int) -> TimeRange:
    """Trades, and order books once a second, until now, and all that is computed from them; returns their span."""
    span = timedelta(seconds=sizes.tick_seconds)
    end = timeframe("1s").floor(datetime.now(UTC))
    trades = made_up_trades(trades_per_second * sizes.tick_seconds, start=end - span, per_second=trades_per_second)
    write_trade_history(connection, ensure_trade_series(connection, instrument), trades)
    books = made_up_books(sizes.tick_seconds, start=end - span)
    write_book_history(connection, ensure_book_series(connection, instrument), books)
    refresh_rollups(connection)
    refresh_features(connection)
    connection.execute("vacuum analyze trade, order_book, order_book_1s, imbalance")
    return end - span, end
