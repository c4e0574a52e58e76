from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tapehouse.book import NO_NONCE, BookBatch
from tapehouse.store.batch import WriteResult
from tapehouse.store.books import write_books
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import BookSeries
from tapehouse.timeframe import to_us
from tests.store.conftest import BookSeriesFactory

START = datetime(2025, 5, 1, tzinfo=UTC)
Side = list[tuple[float, float]]
# Seconds after START, bids, asks.
Snapshot = tuple[float, Side, Side]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def books(*snapshots: Snapshot, late_s: float = 0.5, nonce: int = NO_NONCE) -> BookBatch:
    times = to_us(START) + np.array([round(1e6 * one[0]) for one in snapshots], dtype=np.int64)
    bids, asks = [one[1] for one in snapshots], [one[2] for one in snapshots]
    bid_levels, ask_levels = (
        np.array([level for side in sides for level in side]).reshape(-1, 2) for sides in (bids, asks)
    )
    return BookBatch(
        times,
        times + round(1e6 * late_s),
        np.full(len(times), nonce, dtype=np.int64),
        np.array([len(side) for side in bids], dtype=np.int64),
        np.array([len(side) for side in asks], dtype=np.int64),
        bid_levels[:, 0],
        bid_levels[:, 1],
        ask_levels[:, 0],
        ask_levels[:, 1],
    )


def write(connection: Connection, series: BookSeries, batch: BookBatch, **options: Any) -> WriteResult:
    window = [(START, at(10))]
    return write_books(connection, series, batch, asked=window, covered=window, **options)


def stored(connection: Connection, series: BookSeries) -> list[tuple[Any, ...]]:
    """Seconds, side, level, price, amount."""
    rows = connection.execute(
        "select time, side, level, price, amount from order_book_view where exchange = %s order by 1, 2 desc, 3",
        (series.instrument.exchange,),
    ).fetchall()
    return [((time - START) / timedelta(seconds=1), *rest) for time, *rest in rows]


FIRST: Snapshot = (0, [(99.5, 1.0), (99.0, 2.5)], [(100.0, 0.25)])
SECOND: Snapshot = (1.5, [(99.75, 1.0)], [(100.0, 0.125), (100.5, 7.0), (101.0, 8.0)])


def test_snapshots_are_stored_as_they_are(connection: Connection, make_book_series: BookSeriesFactory):
    series = make_book_series()
    result = write(connection, series, books(FIRST, SECOND))
    assert result == WriteResult(inserted=2, changed=0, unchanged=0, rejected=0, revision=0)
    assert stored(connection, series) == [
        (0.0, "bid", 1, 99.5, 1.0),
        (0.0, "bid", 2, 99.0, 2.5),
        (0.0, "ask", 1, 100.0, 0.25),
        (1.5, "bid", 1, 99.75, 1.0),
        (1.5, "ask", 1, 100.0, 0.125),
        (1.5, "ask", 2, 100.5, 7.0),
        (1.5, "ask", 3, 101.0, 8.0),
    ]
    stale = connection.execute(
        "select dataset, lower(during), upper(during) from stale_feature where instrument_id = %s",
        (series.instrument.instrument_id,),
    ).fetchall()
    assert stale == [("order_book", START, at(1.5) + timedelta(microseconds=1))]


def test_an_equal_snapshot_keeps_when_it_was_first_received(
    connection: Connection, make_book_series: BookSeriesFactory
):
    series = make_book_series()
    write(connection, series, books(FIRST, SECOND, nonce=5))
    again = write(connection, series, books(FIRST, late_s=9, nonce=5))
    assert again == WriteResult(inserted=0, changed=0, unchanged=1, rejected=0, revision=0)
    changed = write(connection, series, books((0, [(99.5, 3.0)], [(100.0, 0.25)]), late_s=9))
    assert (changed.changed, changed.revision) == (1, 1)
    rows = connection.execute(
        "select received_at, nonce from order_book where instrument_id = %s order by time",
        (series.instrument.instrument_id,),
    ).fetchall()
    assert rows == [(at(9), None), (at(2), 5)]


def test_a_level_that_needs_more_decimals_widens_all_snapshots(
    connection: Connection, make_book_series: BookSeriesFactory
):
    series = make_book_series(price_decimals=2, amount_decimals=2)
    write(connection, series, books(FIRST))
    write(connection, series, books((3, [(99.5, 0.001)], [(99.5005, 4.0)])))
    assert stored(connection, series) == [
        (0.0, "bid", 1, 99.5, 1.0),
        (0.0, "bid", 2, 99.0, 2.5),
        (0.0, "ask", 1, 100.0, 0.25),
        (3.0, "bid", 1, 99.5, 0.001),
        (3.0, "ask", 1, 99.5005, 4.0),
    ]


def test_a_snapshot_with_a_level_that_fits_no_scale_is_quarantined_whole(
    connection: Connection, make_book_series: BookSeriesFactory
):
    series = make_book_series()
    result = write(connection, series, books(FIRST, (2, [(99.5, 1.0), (99.0, 2.0**53)], [(100.0, 0.25)])))
    assert (result.inserted, result.rejected) == (1, 1)
    kept = connection.execute("select raw from quarantine where series_id = %s", (series.series_id,)).fetchall()
    assert kept[0][0]["bids"] == [[99.5, 1.0], [99.0, 2.0**53]]
    assert {row[0] for row in stored(connection, series)} == {0.0}
