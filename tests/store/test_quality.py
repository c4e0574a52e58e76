"""What is a fault of a day and what is none, of candles, trades and order books; each by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

import numpy as np
import pytest

from tapehouse.book import BookBatch
from tapehouse.candle import CandleBatch, Reject
from tapehouse.quality import DayQuality, Finding, ReportedDay, Thresholds, read_quality, report_quality, score_lines
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.store.books import write_books
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.delete import delete_rows
from tapehouse.store.instruments import (
    CandleSeries,
    Series,
    TradeSeries,
    ensure_book_series,
    ensure_candle_series,
    ensure_trade_series,
)
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import timeframe, to_us
from tapehouse.trade import TradeBatch
from tests.store.conftest import InstrumentFactory, SeriesFactory

DAY: Final = datetime(2024, 3, 5, tzinfo=UTC)
NEXT: Final = DAY + timedelta(days=1)


def at(minute: float) -> datetime:
    return DAY + timedelta(minutes=minute)


def moving(minutes: int, *, step_s: int = 60, start: datetime = DAY, volume: float = 1.0) -> CandleBatch:
    """Candles that all move: up by 0.1 and down again."""
    times = to_us(start) + step_s * 1_000_000 * np.arange(minutes, dtype=np.int64)
    opened = np.full(minutes, 100.0)
    return CandleBatch(times, opened, opened + 0.2, opened - 0.1, opened + 0.1, np.full(minutes, volume))


def freeze(batch: CandleBatch, first: int, stop: int, *, price: float = 100.0, volume: float = 0.0) -> CandleBatch:
    for column in (batch.open, batch.high, batch.low, batch.close):
        column[first:stop] = price
    batch.volume[first:stop] = volume
    return batch


def store(
    connection: Connection,
    series: CandleSeries,
    batch: CandleBatch,
    covered: Sequence[TimeRange],
    rejected: Sequence[Reject] = (),
) -> None:
    write_candles(
        connection, series, batch, asked=[(covered[0][0], covered[-1][1])], covered=covered, rejected=rejected
    )


def store_trades(
    connection: Connection, series: TradeSeries, rows: Sequence[tuple[float, float]], covered: TimeRange
) -> None:
    """Trades of one lot each: in which minute, at which price."""
    minutes, prices = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    count = len(rows)
    batch = TradeBatch(
        to_us(DAY) + np.rint(60e6 * minutes).astype(np.int64),
        np.arange(1, count + 1),
        np.full(count, "", dtype=np.str_),
        prices,
        np.ones(count),
        np.ones(count, dtype=np.int16),
    )
    write_trades(connection, series, batch, asked=[covered], covered=[covered])


def make_pair(connection: Connection, *series: Series) -> None:
    """Make the markets ones of a pair of their own."""
    ids = [one.instrument.instrument_id for one in series]
    connection.execute("update instrument set base = %s where instrument_id = any(%s)", (uuid4().hex, ids))


def report(connection: Connection, series: Series, **thresholds: float) -> list[ReportedDay]:
    return report_quality(
        connection,
        exchange=series.instrument.exchange,
        dataset=series.dataset,
        start=DAY - timedelta(days=7),
        end=NEXT + timedelta(days=7),
        thresholds=Thresholds(**thresholds),  # pyright: ignore[reportArgumentType] -- some are whole numbers
    )


def judged(connection: Connection, series: Series, **thresholds: float) -> DayQuality:
    (one,) = report(connection, series, **thresholds)
    return one.quality


def test_a_sound_day_is_perfect(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    store(connection, series, moving(1440), [(DAY, NEXT)])

    found = judged(connection, series)

    assert (found.expected, found.known, found.rows, found.score, found.findings) == (1440, 1440, 1440, 100.0, ())
    assert found.name == f"{series.instrument.exchange} BTC/USDT 1m"
    assert read_quality(connection, series=series, start=DAY, end=NEXT) == [found]


def test_only_what_was_asked_for_is_expected(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    store(connection, series, moving(60), [(DAY, at(60))])
    store(connection, series, moving(20, start=at(70)), [(at(70), at(90))])

    found = judged(connection, series)

    assert (found.expected, found.known, found.score) == (90, 80, 88.88)
    assert found.findings == (Finding("gap", at(60), at(70), 10, "never_asked"),)


def test_a_week_belongs_to_the_day_on_which_it_opens(connection: Connection, make_series: SeriesFactory):
    series = make_series("1w")
    monday = datetime(2024, 3, 4, tzinfo=UTC)
    store(connection, series, moving(1, start=monday), [(monday, monday + timedelta(days=7))])

    found = judged(connection, series)

    assert (found.day, found.expected, found.known) == (monday, 1, 1)


def test_what_lies_before_the_listing_is_not_missing(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    store(connection, series, moving(60, start=at(60)), [(DAY, at(120))])
    connection.execute("update series set begins_at = %s where series_id = %s", (at(60), series.series_id))

    found = judged(connection, series)

    assert (found.expected, found.known, found.findings) == (60, 60, ())


def test_what_the_exchange_no_longer_gives_takes_nothing_off(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    store(connection, series, moving(60, start=at(60)), [(at(60), at(120))])
    refused = [Unavailable(DAY - timedelta(days=1), at(60), "beyond_exchange_history")]
    write_candles(connection, series, moving(0), asked=[], covered=[], refused=refused)

    found = judged(connection, series)

    assert (found.expected, found.score, found.findings) == (60, 100.0, ())


def test_bars_are_not_missing_where_trades_say_that_there_was_none(
    connection: Connection, make_instrument: InstrumentFactory
):
    instrument = make_instrument()
    series = ensure_candle_series(connection, instrument, timeframe("1m"))
    batch = moving(60)
    keep = ~np.isin(np.arange(60), (20, 40))
    store(connection, series, batch.take(keep), [(DAY, at(60))])
    assert [(one.start, one.detail) for one in judged(connection, series).findings] == [
        (at(20), "exchange_empty"),
        (at(40), "exchange_empty"),
    ]

    rows = [(minute + 0.5, 100.0) for minute in range(60) if minute != 20]
    store_trades(connection, ensure_trade_series(connection, instrument), rows, (DAY, at(60)))

    gaps = [one for one in judged(connection, series).findings if one.kind == "gap"]
    assert [(one.start, one.end, one.count) for one in gaps] == [(at(40), at(41), 1)]


def test_rejected_rows_are_told_by_their_reasons(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    rejects = [
        Reject(at(5), ("volume_negative",), [5]),
        Reject(at(7), ("volume_negative",), [7]),
        Reject(at(6), ("price_not_positive", "volume_negative"), [6]),
        # Of tomorrow.
        Reject(at(1441), ("volume_negative",), [1441]),
    ]
    store(connection, series, moving(60), [(DAY, at(60))], rejects)

    found = judged(connection, series)

    assert found.rejected == 3
    assert found.findings == (
        Finding("rejected", at(5), at(7), 2, "volume_negative"),
        Finding("rejected", at(6), at(6), 1, "price_not_positive volume_negative"),
    )
    # 60 rows of 63.
    assert found.score == 95.23


@pytest.mark.parametrize(
    ("traded_at", "is_stale"),
    [([], False), ([100.0], False), ([100.0, 100.1], True), ([99.9], True)],
)
def test_trades_decide_whether_a_flat_run_is_stale(
    connection: Connection, make_instrument: InstrumentFactory, traded_at: list[float], is_stale: bool
):
    instrument = make_instrument()
    series = ensure_candle_series(connection, instrument, timeframe("1m"))
    store(connection, series, freeze(moving(200), 100, 115), [(DAY, at(200))])
    rows = [(5.0, 100.0), *((105 + place, price) for place, price in enumerate(traded_at))]
    store_trades(connection, ensure_trade_series(connection, instrument), rows, (at(0), at(200)))

    found = [one for one in judged(connection, series).findings if one.kind == "stale"]

    assert found == ([Finding("stale", at(100), at(115), 15, "at 100.0 throughout")] if is_stale else [])
    assert [one for one in judged(connection, series, stale_bars=16).findings if one.kind == "stale"] == []


def test_without_trades_a_flat_run_is_stale_where_it_has_volume(connection: Connection, make_series: SeriesFactory):
    series, other = make_series(), make_series()
    make_pair(connection, series, other)
    store(connection, series, freeze(moving(200), 100, 115, volume=2.0), [(DAY, at(200))])
    store(connection, other, freeze(moving(200), 100, 115), [(DAY, at(200))])

    assert judged(connection, series).stale == 15
    # Without volume, and without a move elsewhere, there was nothing to tell.
    assert judged(connection, other).stale == 0


def test_without_trades_a_flat_run_is_stale_where_the_pair_moved_elsewhere(
    connection: Connection, make_series: SeriesFactory
):
    series, other = make_series(), make_series()
    store(connection, series, freeze(moving(200), 100, 115), [(DAY, at(200))])
    store(connection, other, moving(200), [(DAY, at(200))])
    make_pair(connection, series)
    assert judged(connection, series).stale == 0

    make_pair(connection, series, other)

    assert judged(connection, series).stale == 15
    # Elsewhere it moved by 0.3 %.
    assert judged(connection, series, stale_move=0.004).stale == 0


def test_a_market_that_often_stands_still_may_do_so(connection: Connection, make_series: SeriesFactory):
    series, other = make_series(), make_series()
    batch = moving(400)
    for first in range(0, 400, 8):
        freeze(batch, first, first + 7)
    store(connection, series, freeze(batch, 104, 135), [(DAY, at(400))])
    store(connection, other, moving(400), [(DAY, at(400))])
    make_pair(connection, series, other)

    assert judged(connection, series).stale == 0
    # Of the 369 other bars six of every eight are unchanged: 400 x (277 / 371)^31 is 0.0466.
    assert judged(connection, series, stale_odds=0.046).stale == 0
    assert judged(connection, series, stale_odds=0.047).stale == 31


def test_an_outlier_is_none_where_trades_were_made_there(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    series = ensure_candle_series(connection, instrument, timeframe("1m"))
    batch = moving(200)
    batch.high[150] = 115.0
    store(connection, series, batch, [(DAY, at(200))])
    spike = Finding("outlier", at(150), at(151), 1, "from 99.9 to 115.0")
    assert judged(connection, series).findings == (spike,)
    assert judged(connection, series, outlier_move=0.2).findings == ()

    trades = ensure_trade_series(connection, instrument)
    store_trades(
        connection, trades, [(150.2, 100.0), (150.5, 115.0), (150.7, 99.9), (150.9, 100.1)], (at(100), at(200))
    )
    assert [one.kind for one in judged(connection, series).findings] == ["disagreement"]


def test_of_trades_the_prices_of_minutes_are_looked_at(connection: Connection, make_instrument: InstrumentFactory):
    series = ensure_trade_series(connection, make_instrument())
    rows = [(minute + part, 100 + 2 * part) for minute in range(120) for part in (0.0, 0.05)]
    rows.insert(101, (50.01, 112.0))
    store_trades(connection, series, rows, (DAY, at(120)))

    found = judged(connection, series)

    assert (found.expected, found.known, found.rows, found.judged) == (7200, 7200, 241, 120)
    assert found.findings == (Finding("outlier", at(50), at(51), 1, "from 100.0 to 112.0"),)
    assert found.score == 99.16


def snapshots(rows: Sequence[tuple[float, float, float, float]]) -> BookBatch:
    """Books of one level a side: after how many seconds, bid, ask, amount; received half a second later."""
    seconds, bid, ask, amount = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    times = to_us(DAY) + np.rint(1e6 * seconds).astype(np.int64)
    ones = np.ones(len(rows), dtype=np.int64)
    return BookBatch(times, times + 500_000, -ones, ones, ones, bid, amount, ask, amount)


def second(seconds: float) -> datetime:
    return DAY + timedelta(seconds=seconds)


def test_of_order_books_what_was_not_sampled_is_missing(connection: Connection, make_instrument: InstrumentFactory):
    series = ensure_book_series(connection, make_instrument())
    rows = [(float(time), 99.0, 100.0, 1.0 + time) for time in (0, 5, 10, 20, 25)]
    covered = [(DAY, second(15)), (second(20), second(30))]
    write_books(connection, series, snapshots(rows), asked=covered, covered=covered)

    found = judged(connection, series)

    assert (found.expected, found.known, found.rows, found.cadence_s, found.longest_s) == (30, 25, 5, 5, 10)
    assert found.findings == (Finding("gap", second(15), second(20), None, "not_sampled"),)
    assert found.score == 83.33


def test_crossed_and_locked_order_books_are_counted(connection: Connection, make_instrument: InstrumentFactory):
    series = ensure_book_series(connection, make_instrument())
    rows = [(0, 99.0, 100.0, 1.0), (1, 101.0, 100.0, 2.0), (2, 100.0, 100.0, 3.0), (3, 102.0, 100.0, 4.0)]
    # Nothing like that passes validation, but it may come by other ways.
    write_books(connection, series, snapshots(rows), asked=[(DAY, second(4))], covered=[(DAY, second(4))])

    found = judged(connection, series)

    assert [(one.kind, one.count) for one in found.findings] == [("crossed", 2), ("locked", 1)]
    assert (found.crossed, found.score) == (3, 25.0)


def test_order_books_are_stale_that_stay_the_same_while_trades_are_made(
    connection: Connection, make_instrument: InstrumentFactory
):
    instrument = make_instrument()
    series, trades = ensure_book_series(connection, instrument), ensure_trade_series(connection, instrument)
    # A new book every 10 s, but for the same from 100 to 190 s, and once more from 300 to 390 s.
    held = {time: 100 if 100 <= time <= 190 else 300 if 300 <= time <= 390 else time for time in range(0, 600, 10)}
    rows = [(time, 99.0, 100.0, 1.0 + state) for time, state in held.items()]
    write_books(connection, series, snapshots(rows), asked=[(DAY, at(10))], covered=[(DAY, at(10))])
    # Three trades in the first of them, two in the second.
    store_trades(
        connection, trades, [(second_ / 60, 100.0) for second_ in (110, 120, 130, 310, 320, 500)], (DAY, at(10))
    )

    found = judged(connection, series)

    assert found.findings == (
        Finding("stale", second(100), second(190), 10, "best prices and amounts unchanged, 3 trades"),
    )
    assert (found.stale, found.score) == (10, 83.33)
    assert judged(connection, series, still_book_trades=2).stale == 20
    assert judged(connection, series, still_book_s=91).stale == 0


def test_a_book_that_is_sampled_seldom_is_not_stale_for_that(
    connection: Connection, make_instrument: InstrumentFactory
):
    instrument = make_instrument()
    series, trades = ensure_book_series(connection, instrument), ensure_trade_series(connection, instrument)
    # Each five minutes another one, and in between trades.
    rows = [(time, 99.0, 100.0, 1.0 + time) for time in (0, 300, 600)]
    write_books(connection, series, snapshots(rows), asked=[(DAY, at(15))], covered=[(DAY, at(15))])
    store_trades(connection, trades, [(minute, 100.0) for minute in range(15)], (DAY, at(15)))

    assert judged(connection, series).findings == ()


def test_a_book_that_was_not_sampled_meanwhile_is_not_stale(connection: Connection, make_instrument: InstrumentFactory):
    instrument = make_instrument()
    series, trades = ensure_book_series(connection, instrument), ensure_trade_series(connection, instrument)
    covered = [(DAY, second(30)), (second(300), second(310))]
    write_books(connection, series, snapshots([(0, 99, 100, 1), (300, 99, 100, 1)]), asked=covered, covered=covered)
    store_trades(connection, trades, [(time / 60, 100.0) for time in range(5, 305, 5)], (DAY, at(10)))

    assert judged(connection, series).stale == 0


def test_what_has_changed_since_the_day_before_is_told(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    store(connection, series, moving(1440), [(DAY, NEXT)])
    tomorrow = moving(1440, start=NEXT)
    store(connection, series, tomorrow.take(np.arange(1440) >= 144), [(NEXT, NEXT + timedelta(days=1))])

    first, second_ = report(connection, series)
    assert (first.before, first.changes, first.changes_text) == (None, None, "first day")
    assert (second_.before, second_.changes_text) == (first.quality, "score -10, gaps +1")
    # One day alone is set beside what an earlier report has kept.
    (again,) = report_quality(
        connection, exchange=series.instrument.exchange, start=NEXT, end=NEXT + timedelta(hours=1)
    )
    assert again == second_


def test_a_day_that_is_not_over_is_compared_with_none(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    now = datetime.now(UTC)
    today = timeframe("1d").floor(now)
    store(connection, series, moving(1440, start=today - timedelta(days=1)), [(today - timedelta(days=1), now)])

    days = report_quality(
        connection, exchange=series.instrument.exchange, start=today - timedelta(days=1), end=now + timedelta(minutes=2)
    )

    # At midnight there is none of today yet.
    assert [(one.changes, one.changes_text) for one in days[1:]] in ([], [(None, "not over")])
    assert days[0].is_over


def test_seconds_are_told_as_such():
    day = DayQuality(
        "kraken", "BTC/USD", "trade", None, NEXT, expected=86_400.0, known=86_400.0, rows=9, gaps=0, rejected=0
    )

    before = replace(day, day=DAY, expected=5450.3, known=5450.3)

    assert ReportedDay(day, before).changes_text == "expected +80,949.7 s"


def test_a_report_is_replaced_by_the_next_and_goes_with_the_rows(connection: Connection, make_series: SeriesFactory):
    series = make_series()
    store(connection, series, moving(60), [(DAY, at(30)), (at(40), at(60))])
    assert judged(connection, series).gaps == 1
    store(connection, series, moving(60), [(DAY, at(60))])

    better = judged(connection, series)

    assert read_quality(connection, series=series, start=DAY, end=NEXT) == [better]
    assert better.gaps == 0
    delete_rows(connection, series, at(50), at(55))
    assert read_quality(connection, series=series, start=DAY, end=NEXT) == []


def test_what_retention_has_dropped_is_not_expected(connection: Connection, make_series: SeriesFactory):
    series = make_series("3m")
    store(connection, series, moving(20, step_s=180), [(DAY, at(60))])
    connection.execute("insert into retention values ('ohlcv', 180, %s)", (at(30),))
    try:
        found = judged(connection, series)
    finally:
        connection.execute("delete from retention where timeframe_s = 180")

    assert (found.expected, found.known, found.rows) == (10, 10, 10)


def test_scores_are_drawn_a_block_a_day():
    def day(name: str, number: int, known: float) -> DayQuality:
        return DayQuality(
            name, "BTC/USDT", "ohlcv", "1h", DAY + timedelta(days=number), 10_000, known, 24, gaps=0, rejected=0
        )

    days = [day("a", 0, 10_000), day("a", 1, 9_999), day("a", 3, 9_700), day("bcd", 2, 7_000), day("bcd", 3, 0)]

    assert score_lines(days) == ["a BTC/USDT 1h    █▇·▄   97.00", "bcd BTC/USDT 1h  ··▁▁    0.00"]
    assert score_lines([]) == []
