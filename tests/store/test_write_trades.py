import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tapehouse.candle import Reject
from tapehouse.ranges import TimeRange
from tapehouse.store.batch import WriteResult
from tapehouse.store.connection import Connection, connect, is_embedded
from tapehouse.store.instruments import TradeSeries, ensure_book_series, ensure_candle_series
from tapehouse.store.ledger import missing_ranges
from tapehouse.store.rollups import refresh_rollups
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe, to_us
from tapehouse.trade import TradeBatch
from tests.store.conftest import TradeSeriesFactory, candles
from tests.store.test_write_candles import write as write_candles

START = datetime(2025, 5, 1, tzinfo=UTC)
# Time in ms after START, id, price, amount, side.
Row = tuple[int, int | str, float, float, int]


def at(ms: int) -> datetime:
    return START + timedelta(milliseconds=ms)


def trades(*rows: Row) -> TradeBatch:
    """The rows, which must be in order, as a batch."""
    ids = [row[1] for row in rows]
    return TradeBatch(
        to_us(START) + 1000 * np.array([row[0] for row in rows], dtype=np.int64),
        np.array([one if isinstance(one, int) else 0 for one in ids], dtype=np.int64),
        np.array([one if isinstance(one, str) else "" for one in ids], dtype=np.str_),
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array([row[3] for row in rows], dtype=np.float64),
        np.array([row[4] for row in rows], dtype=np.int16),
    )


def write(connection: Connection, series: TradeSeries, *rows: Row, until: int = 1000) -> WriteResult:
    window = [(START, at(until))]
    return write_trades(connection, series, trades(*rows), asked=window, covered=window)


def stored(connection: Connection, series: TradeSeries) -> list[tuple[Any, ...]]:
    rows = connection.execute(
        "select time, trade_id, price, amount, side from trade_view where exchange = %s order by 1, 2",
        (series.instrument.exchange,),
    ).fetchall()
    return [((time - START) // timedelta(milliseconds=1), *rest) for time, *rest in rows]


def ledger(connection: Connection, series: TradeSeries) -> dict[str, Any]:
    names = ("revision", "id_bytes", "covered", "rollups", "features", "quarantined")
    row = connection.execute(
        """
        select s.revision, s.id_bytes, (select covered from coverage c where c.series_id = s.series_id),
            (select range_agg(r.during) from stale_rollup r
                where r.instrument_id = s.instrument_id and r.dataset = 'trade'),
            (select range_agg(f.during) from stale_feature f
                where f.instrument_id = s.instrument_id and f.dataset = 'trade'),
            (select count(*) from quarantine q where q.series_id = s.series_id)
        from series s where s.series_id = %s
        """,
        (series.series_id,),
    ).fetchone()
    assert row is not None
    return dict(zip(names, row, strict=True))


def minutes(connection: Connection, series: TradeSeries) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select open, high, low, close, volume, trades, bought, sold from trade_candle_1m_view "
        "where exchange = %s order by time",
        (series.instrument.exchange,),
    ).fetchall()


def spans(multirange: Any) -> list[TimeRange]:
    return [(one.lower, one.upper) for one in multirange]


def test_trades_are_stored_as_they_are_and_covered(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    result = write(connection, series, (5, 7, 100.25, 0.5, 1), (5, 8, 100.26, 1.5, -1), (9, 9, 100.0, 0.001, 0))
    assert result == WriteResult(inserted=3, changed=0, unchanged=0, rejected=0, revision=0)
    assert stored(connection, series) == [
        (5, "7", 100.25, 0.5, "buy"),
        (5, "8", 100.26, 1.5, "sell"),
        (9, "9", 100.0, 0.001, "unknown"),
    ]
    found = ledger(connection, series)
    assert spans(found["covered"]) == [(START, at(1000))]
    assert spans(found["rollups"]) == spans(found["features"]) == [(at(5), at(10))]
    assert found["id_bytes"] == 0


def test_overlap_is_written_once_and_corrections_replace(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    write(connection, series, (1, 1, 10.0, 1.0, 1), (2, 2, 11.0, 1.0, 1), (2, 3, 12.0, 1.0, 1))
    again = write(connection, series, (2, 2, 11.0, 1.0, 1), (2, 3, 12.5, 1.0, 1), (2, 4, 13.0, 1.0, -1))
    assert again == WriteResult(inserted=1, changed=1, unchanged=1, rejected=0, revision=1)
    assert [(row[1], row[2]) for row in stored(connection, series)] == [
        ("1", 10.0),
        ("2", 11.0),
        ("3", 12.5),
        ("4", 13.0),
    ]
    same = write(connection, series, (2, 4, 13.0, 1.0, -1))
    assert same == WriteResult(inserted=0, changed=0, unchanged=1, rejected=0, revision=1)


@pytest.mark.parametrize("corrected", [(2, 2, 11.5, 1.0, 1), (2, 2, 11.0, 1.5, 1), (2, 2, 11.0, 1.0, 0)])
def test_a_correction_of_any_value_replaces_the_trade(
    connection: Connection, make_trade_series: TradeSeriesFactory, corrected: Row
):
    series = make_trade_series()
    write(connection, series, (2, 2, 11.0, 1.0, 1))
    result = write(connection, series, corrected)
    assert (result.changed, result.revision) == (1, 1)
    ms, number, price, amount, side = corrected
    assert stored(connection, series) == [(ms, str(number), price, amount, "buy" if side else "unknown")]


def test_a_trade_where_there_was_none_changes_what_a_reader_has_seen(
    connection: Connection, make_trade_series: TradeSeriesFactory
):
    series = make_trade_series()
    write(connection, series, (1, 1, 10.0, 1.0, 1))
    between = write(connection, series, (1, 1, 10.0, 1.0, 1), (500, 2, 10.0, 1.0, 1))
    assert (between.inserted, between.changed, between.revision) == (1, 0, 1)
    later = [(at(1000), at(2000))]
    after = write_trades(connection, series, trades((1000, 3, 10.0, 1.0, 1)), asked=later, covered=later)
    assert (after.inserted, after.revision) == (1, 1)


def test_ids_that_are_texts_are_kept_exactly(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    ids = ["", "007", "f2c6ce0e-1c3e-4a6a-9c0e-0d7b0c8a4d11", "überlang-✓", "00000000000000000001"]
    rows: list[Row] = sorted((1, one, 5.0, 1.0, 1) for one in ids[1:])
    write(connection, series, *rows, (2, 2**63 - 1, 5.0, 1.0, 1))
    assert sorted(row[1] for row in stored(connection, series)) == sorted([*ids[1:], str(2**63 - 1)])
    assert ledger(connection, series)["id_bytes"] == 36
    again = write(connection, series, *rows, (1, "zz", 6.0, 1.0, 1))
    assert (again.inserted, again.changed, again.unchanged) == (1, 0, 4)


def test_a_text_and_a_number_are_different_ids(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    write(connection, series, (1, 0, 5.0, 1.0, 1))
    result = write(connection, series, (1, 0, 5.0, 1.0, 1), (1, "00", 6.0, 1.0, 1))
    assert (result.inserted, result.unchanged) == (1, 1)
    other = write(connection, series, (2, "00", 5.0, 1.0, 1))
    assert (other.inserted, write(connection, series, (2, 0, 5.0, 1.0, 1)).inserted) == (1, 1)
    assert len(stored(connection, series)) == 4


def test_a_shorter_id_hides_no_longer_one(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    write(connection, series, (1, "f2c6ce0e-1c3e", 5.0, 1.0, 1))
    write(connection, series, (2, "f2c6", 5.0, 1.0, 1))
    assert ledger(connection, series)["id_bytes"] == 13


def test_a_millisecond_asked_again_after_a_reject_keeps_its_good_trades(
    connection: Connection, make_trade_series: TradeSeriesFactory
):
    series = make_trade_series()
    window = [(START, at(10))]
    holes = [(START, at(3)), (at(6), at(10))]
    bad = [Reject(at(ms), ("price_not_positive",), [ms]) for ms in (3, 4, 5)]
    write_trades(connection, series, trades((4, 1, 5.0, 1.0, 1)), asked=window, covered=holes, rejected=bad)
    assert missing_ranges(connection, series, (START, at(10))) == []  # The rejected range waits for its next try.
    middle = [(at(4), at(5))]
    result = write_trades(
        connection, series, trades((4, 1, 5.0, 1.0, 1), (4, 2, 6.0, 1.0, 1)), asked=middle, covered=middle
    )
    assert (result.inserted, result.unchanged) == (1, 1)
    assert [row[1] for row in stored(connection, series)] == ["1", "2"]


def test_a_trade_that_needs_more_decimals_widens_all_of_the_instrument(
    connection: Connection, make_trade_series: TradeSeriesFactory
):
    series = make_trade_series(price_decimals=1, amount_decimals=1)
    candle_series = ensure_candle_series(connection, series.instrument, timeframe("1m"))
    write_candles(connection, candle_series, 0, [100.5])
    write(connection, series, (1, 1, 10.5, 1.5, 1), (61_000, 2, 11.5, 2.5, -1), until=120_000)
    refresh_rollups(connection)
    result = write(connection, series, (2, 3, 10.25, 1.125, 1), until=120_000)
    assert result.inserted == 1
    assert [(row[2], row[3]) for row in stored(connection, series)] == [(10.5, 1.5), (10.25, 1.125), (11.5, 2.5)]
    candle = connection.execute(
        "select close, volume from candle where exchange = %s", (series.instrument.exchange,)
    ).fetchall()
    assert candle == [(100.5, 1.5)]
    # A refresh computes a whole hour again. Before it, the minute of the trade just written may show it or not.
    assert minutes(connection, series)[1:] == [(11.5, 11.5, 11.5, 11.5, 2.5, 1, 0.0, 2.5)]
    refresh_rollups(connection)
    assert minutes(connection, series) == [
        (10.5, 10.5, 10.25, 10.25, 2.625, 2, 2.625, 0.0),
        (11.5, 11.5, 11.5, 11.5, 2.5, 1, 0.0, 2.5),
    ]


@pytest.mark.parametrize("large", [(2.0**50, 1.0), (1.0, 2.0**50)], ids=["price", "amount"])
def test_a_large_stored_trade_limits_widening(
    connection: Connection, make_trade_series: TradeSeriesFactory, large: tuple[float, float]
):
    series = make_trade_series(price_decimals=0, amount_decimals=0)
    write(connection, series, (61_000, 1, 1.0, 1.0, 1), until=120_000)
    refresh_rollups(connection)
    # Candles were built without it, so it is in none of them yet.
    write(connection, series, (1, 2, *large, 1), until=120_000)
    assert minutes(connection, series)[1:] == []
    finer: Row = (2, 3, 0.0001, 1.0, 1) if large[0] > 1 else (2, 3, 1.0, 0.0001, 1)
    result = write(connection, series, finer, until=120_000)
    assert (result.inserted, result.rejected) == (0, 1)
    assert stored(connection, series)[0] == (1, "2", *large, "buy")


def test_a_trade_that_fits_no_scale_is_quarantined_and_leaves_its_millisecond_open(
    connection: Connection, make_trade_series: TradeSeriesFactory
):
    series = make_trade_series()
    result = write(connection, series, (1, 1, 10.5, 1.5, 1), (2, 2, 2.0**53, 0.001, -1))
    assert (result.inserted, result.rejected) == (1, 1)
    found = ledger(connection, series)
    assert found["quarantined"] == 1
    assert spans(found["covered"]) == [(START, at(2)), (at(3), at(1000))]


def test_trade_candles_open_and_close_in_the_order_of_ids(
    connection: Connection, make_trade_series: TradeSeriesFactory
):
    series = make_trade_series()
    rng = np.random.default_rng(7)
    times = np.sort(rng.integers(0, 7_200_000, 4000)) // 50 * 50
    prices, amounts, sides = 100 + rng.integers(0, 400, 4000) / 100, rng.integers(1, 999, 4000) / 1000, [1, -1, 0]
    rows: list[Row] = [
        (int(time), number, float(price), float(amount), sides[number % 3])
        for number, (time, price, amount) in enumerate(zip(times, prices, amounts, strict=True))
    ]
    late = set(rng.choice(4000, 300, replace=False).tolist())
    write(connection, series, *(row for row in rows if row[1] not in late), until=7_200_000)
    refresh_rollups(connection)
    write(connection, series, *(row for row in rows if row[1] in late), until=7_200_000)
    refreshed = refresh_rollups(connection)
    assert (START, at(7_200_000)) in refreshed.trade_candles
    frame = pd.DataFrame(rows, columns=pd.Index(["ms", "id", "price", "amount", "side"])).sort_values(["ms", "id"])
    frame.index = START + pd.to_timedelta(frame["ms"], unit="ms")
    for view, rule in (("trade_candle_1s_view", "1s"), ("trade_candle_1m_view", "1min")):
        groups = frame.resample(rule)
        expected = groups["price"].agg(["first", "max", "min", "last", "count"])
        lots = (frame["amount"] * 1000).round()
        expected["volume"] = lots.resample(rule).sum() / 1000
        expected["bought"] = lots.where(frame["side"] == 1, 0).resample(rule).sum() / 1000
        expected["sold"] = lots.where(frame["side"] == -1, 0).resample(rule).sum() / 1000
        expected = expected[expected["count"] > 0]
        found = connection.execute(
            "select time, open, high, low, close, trades, volume, bought, sold from "
            + view  # pyright: ignore[reportArgumentType] -- one of the two names above
            + " where exchange = %s order by time",
            (series.instrument.exchange,),
        ).fetchall()
        assert found == [
            (time.to_pydatetime(), *row) for time, row in zip(expected.index, expected.to_numpy().tolist(), strict=True)
        ]


@pytest.mark.parametrize("written", ["between", "corrected", "both"])
def test_compressed_trades_can_be_written_to(
    connection: Connection, make_trade_series: TradeSeriesFactory, written: str
):
    series = make_trade_series()
    before = [number for number in range(2000) if number % 7]
    again = {
        "between": dict.fromkeys(range(0, 2000, 7), 50.0),
        "corrected": dict.fromkeys(before[::5], 51.0),
        "both": {number: 51.0 if number % 5 else 50.0 for number in range(2000)},
    }[written]
    write(connection, series, *((10 * number, number, 50.0, 1.0, 1) for number in before), until=20_000)
    connection.execute("select compress_chunk(c, if_not_compressed => true) from show_chunks('trade') c")
    connection.execute("set timescaledb.max_tuples_decompressed_per_dml_transaction = 1")
    try:
        rows: list[Row] = [(10 * number, number, price, 1.0, 1) for number, price in again.items()]
        result = write(connection, series, *rows, until=20_000)
    finally:
        connection.execute("reset timescaledb.max_tuples_decompressed_per_dml_transaction")
    expected = dict.fromkeys(before, 50.0) | again
    assert result.inserted == len(expected) - len(before)
    assert result.changed == sum(again.get(number, 50.0) == 51 for number in before)
    assert [row[2] for row in stored(connection, series)] == [price for _, price in sorted(expected.items())]


def test_two_writers_of_trades_that_nothing_covers_take_turns(
    connection: Connection, store_url: str, make_trade_series: TradeSeriesFactory
):
    if is_embedded(connection):
        pytest.skip("the embedded database runs one transaction at a time anyway")
    series = make_trade_series()
    window = [(START, at(1000))]
    # A rejected row without a time may have been anywhere: nothing counts as fetched.
    unplaceable = [Reject(None, ("time_missing",), [])]
    found: list[WriteResult] = []

    def write_one(own: Connection) -> None:
        batch = trades((1, 1, 10.0, 1.0, 1), (2, 2, 10.0, 1.0, 1))
        found.append(write_trades(own, series, batch, asked=window, covered=[], rejected=unplaceable))

    with connect(store_url) as other:
        writer = threading.Thread(target=write_one, args=(other,))
        with connection.transaction():
            write_one(connection)
            writer.start()
            wait_until_blocked(connection, other)
        writer.join()
    assert [(result.inserted, result.unchanged) for result in found] == [(2, 0), (0, 2)]


def wait_until_blocked(connection: Connection, other: Connection) -> None:
    for _ in range(600):
        (blockers,) = connection.execute("select pg_blocking_pids(%s)", (other.info.backend_pid,)).fetchall()[0]
        if blockers:
            return
        time.sleep(0.05)
    pytest.fail("the other writer waits for nothing")


def test_series_of_one_instrument_keep_apart(connection: Connection, make_trade_series: TradeSeriesFactory):
    series = make_trade_series()
    write(connection, series, (1, 1, 10.5, 1.5, 1))
    books = ensure_book_series(connection, series.instrument)
    minutes = ensure_candle_series(connection, series.instrument, timeframe("1m"))
    assert len({series.series_id, books.series_id, minutes.series_id}) == 3
    assert len(candles(START, [1.0])) == 1
    assert missing_ranges(connection, books, (START, at(5))) == [(START, at(5))]
