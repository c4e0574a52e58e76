"""Computing the features of an hour of order books, against only reading the same snapshots."""

import time

import numpy as np

from benchmarks.figure import Figure
from benchmarks.history import made_up_books
from benchmarks.rounds import take_rounds
from benchmarks.series import AMOUNT_DECIMALS, PRICE_DECIMALS, new_book_series
from benchmarks.setting import Setting
from tapehouse.book import BookBatch
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import BookSeries


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
