from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

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


def test_a_snapshot_where_there_was_none_changes_what_a_reader_has_seen(
    connection: Connection, make_book_series: BookSeriesFactory
):
    series = make_book_series()
    write(connection, series, books(FIRST))
    between = write(connection, series, books(FIRST, SECOND))
    assert (between.inserted, between.changed, between.revision) == (1, 0, 1)
    later = [(at(10), at(20))]
    after = write_books(connection, series, books((10, [(99.5, 1.0)], [(100.0, 1.0)])), asked=later, covered=later)
    assert (after.inserted, after.revision) == (1, 1)


@pytest.mark.parametrize("written", ["between", "corrected", "both"])
def test_compressed_snapshots_can_be_written_to(
    connection: Connection, make_book_series: BookSeriesFactory, written: str
):
    series = make_book_series()
    before = [number for number in range(2000) if number % 7]
    again = {
        "between": dict.fromkeys(range(0, 2000, 7), 1.0),
        "corrected": dict.fromkeys(before[::5], 2.0),
        "both": {number: 2.0 if number % 5 else 1.0 for number in range(2000)},
    }[written]
    write(connection, series, books(*(each_4_ms(number, 1.0) for number in before)))
    connection.execute("select compress_chunk(c, if_not_compressed => true) from show_chunks('order_book') c")
    connection.execute("set timescaledb.max_tuples_decompressed_per_dml_transaction = 1")
    try:
        result = write(connection, series, books(*(each_4_ms(*one) for one in again.items())))
    finally:
        connection.execute("reset timescaledb.max_tuples_decompressed_per_dml_transaction")
    expected = dict.fromkeys(before, 1.0) | again
    assert result.inserted == len(expected) - len(before)
    assert result.changed == sum(again.get(number, 1.0) == 2 for number in before)
    amounts = [row[4] for row in stored(connection, series) if row[1] == "bid"]
    assert amounts == [amount for _, amount in sorted(expected.items())]


def each_4_ms(number: int, bid_amount: float) -> Snapshot:
    return number / 250, [(99.5, bid_amount)], [(100.0, 1.0)]


@pytest.mark.parametrize(
    ("bid", "ask"),
    [
        ((2.0**50, 1.0), (2.0**50 + 1, 1.0)),
        ((1.0, 1.0), (2.0**50, 1.0)),
        ((1.0, 2.0**50), (2.0, 1.0)),
        ((1.0, 1.0), (2.0, 2.0**50)),
    ],
    ids=["prices", "ask price", "bid amount", "ask amount"],
)
def test_a_large_stored_level_limits_widening(
    connection: Connection, make_book_series: BookSeriesFactory, bid: tuple[float, float], ask: tuple[float, float]
):
    series = make_book_series(price_decimals=0, amount_decimals=0)
    write(connection, series, books((0, [bid], [ask])))
    is_price = max(bid[0], ask[0]) > 2
    finer = (0.0001, 1.0) if is_price else (1.0, 0.0001)
    result = write(connection, series, books((1, [finer], [(2.0, 1.0)])))
    assert (result.inserted, result.rejected) == (0, 1)
    assert stored(connection, series) == [(0.0, "bid", 1, *bid), (0.0, "ask", 1, *ask)]


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
