"""Bringing what is derived up to date: features of an hour of order books, rollups after rows that came late."""

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from psycopg import sql

from benchmarks.figure import Figure
from benchmarks.history import START, made_up_books, made_up_candles
from benchmarks.rounds import take_rounds, time_s
from benchmarks.series import AMOUNT_DECIMALS, PRICE_DECIMALS, new_book_series, new_candle_series
from benchmarks.setting import Setting
from tapehouse.book import BookBatch
from tapehouse.candle import CandleBatch
from tapehouse.store.books import write_books
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import BookSeries, CandleSeries
from tapehouse.store.rollups import ROLLUPS, refresh_rollups
from tapehouse.timeframe import from_us, timeframe

# A repair closes gaps, so what comes late comes in runs.
_LATE_RUNS: Final = 50
_LATE_RUN_ROWS: Final = 20
_REFRESH_ALL: Final = "call refresh_continuous_aggregate({}, %s, %s, force => true, options => {})"


def refresh_after_1000_late_rows_ms(setting: Setting) -> Figure:
    """`refresh_rollups` after 1,000 late rows in 50 places of a year of 1m candles, in compressed chunks."""
    candles = made_up_candles(setting.sizes.year_candles)
    random = np.random.default_rng(7)
    with setting.emptied_database() as connection:
        series = new_candle_series(connection)
        _write(connection, series, candles)
        refresh_rollups(connection)
        connection.execute("select compress_chunk(chunk) from show_chunks('ohlcv') as chunk")

        def measured() -> float:
            for first in random.integers(0, len(candles) - _LATE_RUN_ROWS, _LATE_RUNS).tolist():
                _write(connection, series, _corrected(candles, first, random))
            return time_s(lambda: refresh_rollups(connection))

        end = from_us(int(candles.time_us[-1])) + timedelta(days=1)
        taken = take_rounds(setting.sizes.rounds, measured, lambda: time_s(lambda: _refresh_all(connection, end)))
    return taken.as_cost(
        "refresh_after_1000_late_rows_ms",
        "ms",
        baseline="refresh_continuous_aggregate of every rollup over the whole year, forced",
        scale=1000,
        note=f"{_LATE_RUNS * _LATE_RUN_ROWS:,} rows in {_LATE_RUNS} runs, of {len(candles):,}",
    )


def _corrected(candles: CandleBatch, first: int, random: np.random.Generator) -> CandleBatch:
    """A run of the candles with other volumes."""
    rows = np.arange(len(candles))
    late = candles.take((rows >= first) & (rows < first + _LATE_RUN_ROWS))
    return replace(late, volume=np.rint(random.lognormal(9, 1, len(late))) / 10.0**AMOUNT_DECIMALS)


def _write(connection: Connection, series: CandleSeries, candles: CandleBatch) -> None:
    window = [(from_us(int(candles.time_us[0])), from_us(int(candles.time_us[-1])) + timedelta(minutes=1))]
    write_candles(connection, series, candles, asked=window, covered=window)


def _refresh_all(connection: Connection, end: datetime) -> None:
    """Compute all rollups of 1m candles anew, each level from the one below."""
    for rollup in ROLLUPS:
        # As many buckets at a time as ours: TimescaleDB's own batches are small.
        options = json.dumps({"buckets_per_batch": timedelta(days=30) // rollup.length})
        statement = sql.SQL(_REFRESH_ALL).format(sql.Literal(f"candle_{rollup}"), sql.Literal(options))
        connection.execute(statement, [START, timeframe("1d").ceil(end)])


def book_1s_features_snapshots_per_s(setting: Setting) -> Figure:
    """Snapshots read, features and imbalances computed of them and written, a second."""
    books = made_up_books(setting.sizes.books)
    with setting.emptied_database() as connection:
        plain = _stored(connection, books)
        refresh_features(connection)
        taken = take_rounds(
            setting.sizes.rounds,
            lambda: _refresh_time_s(connection, books),
            lambda: _read_time_s(connection, plain, expected=len(books)),
        )
    baseline = "select ... order by time, into numpy arrays"
    return taken.as_rate("book_1s_features_snapshots_per_s", "snapshots/s", len(books), baseline=baseline)


def _stored(connection: Connection, books: BookBatch) -> BookSeries:
    """A series with those snapshots."""
    series = new_book_series(connection, price_decimals=PRICE_DECIMALS, amount_decimals=AMOUNT_DECIMALS)
    write_books(connection, series, books, asked=[], covered=[])
    return series


def _refresh_time_s(connection: Connection, books: BookBatch) -> float:
    _stored(connection, books)
    started_s = time.perf_counter()
    refreshed = refresh_features(connection)
    taken_s = time.perf_counter() - started_s
    # A row a snapshot, of the features and of the imbalances.
    assert refreshed.written == 2 * len(books)
    return taken_s


def _read_time_s(connection: Connection, series: BookSeries, *, expected: int) -> float:
    started_s = time.perf_counter()
    with connection.cursor(binary=True) as cursor:
        cursor.execute(
            "select bid_price, bid_amount, ask_price, ask_amount "
            "from order_book where instrument_id = %s order by time",
            [series.instrument.instrument_id],
        )
        levels = np.array(cursor.fetchall())
    taken_s = time.perf_counter() - started_s
    assert levels.shape[:2] == (expected, 4)
    return taken_s
