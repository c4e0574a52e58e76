from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tapehouse.query.plan import (
    Plan,
    SeriesState,
    closed_window,
    derivable_from_minutes,
    plan_candles,
    plan_trade_candles,
    reach_of,
)
from tapehouse.ranges import TimeRange
from tapehouse.timeframe import timeframe

# A Monday that is also the first day of a month.
START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def hours(start: float, end: float) -> TimeRange:
    return START + timedelta(hours=start), START + timedelta(hours=end)


def series(*covered: TimeRange, dropped_before: datetime | None = None) -> SeriesState:
    return SeriesState(1, covered, dropped_before)


def plan(
    name: str,
    window: TimeRange,
    *,
    native: SeriesState | None = None,
    minutes: SeriesState | None = None,
    stale: Sequence[TimeRange] = (),
) -> Plan:
    if minutes is not None:
        minutes = replace(minutes, stale_rollups=tuple(stale))
    found = plan_candles(timeframe(name), window, native=native, minutes=minutes)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "start", "end", "now", "expected"),
    [
        ("1h", 0, 3, 9, (0, 3)),
        ("1h", 0.5, 3.5, 9, (1, 3)),
        ("1h", 0, 9, 3.5, (0, 3)),
        ("1h", 0, 9, 0.5, (0, 0)),
        ("1h", 5, 9, 3.5, (3, 3)),
        ("1h", 0.2, 0.8, 9, (0, 0)),
        ("1d", 0, 47, 99, (0, 24)),
    ],
)
def test_a_window_is_cut_to_whole_closed_bars(
    name: str, start: float, end: float, now: float, expected: tuple[float, float]
):
    times = (START + timedelta(hours=hour) for hour in (start, end, now))
    assert closed_window(timeframe(name), *times) == hours(*expected)


def test_a_monthly_window_follows_the_calendar():
    window = closed_window(timeframe("1M"), START + DAY, START + 100 * DAY, START + 200 * DAY)
    assert window == (datetime(2024, 2, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "derivable"),
    [("1s", False), ("30s", False), ("1m", False), ("90s", False), ("2m", True), ("5m", True), ("1M", True)],
)
def test_only_whole_minutes_are_built_from_minutes(name: str, derivable: bool):
    assert derivable_from_minutes(timeframe(name)) is derivable


@pytest.mark.parametrize(
    ("name", "tables"),
    [
        ("2m", ["ohlcv"]),
        ("3m", ["ohlcv"]),
        ("5m", ["candle_5m"]),
        ("10m", ["candle_5m"]),
        ("15m", ["candle_15m"]),
        ("45m", ["candle_15m"]),
        ("1h", ["candle_1h"]),
        ("3h", ["candle_1h"]),
        ("4h", ["candle_4h"]),
        ("12h", ["candle_4h"]),
        ("1d", ["candle_1d"]),
        ("1w", ["candle_1d"]),
        ("1M", ["candle_1d"]),
    ],
)
def test_bars_are_built_from_the_longest_candles_that_tile_them(name: str, tables: list[str]):
    window = (START, datetime(2024, 7, 1, tzinfo=UTC))
    found = plan(name, window, minutes=series(window))
    assert [read.table for read in found.reads] == tables
    assert found.source == ("rollup" if name in ("5m", "15m", "1h", "4h", "1d") else "resampled")


def test_nothing_stored_makes_no_plan():
    window = hours(0, 5)
    assert plan_candles(timeframe("1h"), window, native=None, minutes=None) is None
    minutes = series(window)
    assert plan_candles(timeframe("30s"), window, native=None, minutes=minutes) is None


@pytest.mark.parametrize(
    ("native", "minutes", "source"),
    [
        ((0, 6), (0, 6), "native"),
        ((0, 5), (0, 6), "rollup"),
        ((0, 5), (0, 5), "native"),
        ((0, 5), (0, 4), "native"),
        ((0, 2), (3, 6), "rollup"),
    ],
)
def test_native_candles_win_unless_minutes_know_more(
    native: tuple[float, float], minutes: tuple[float, float], source: str
):
    found = plan("1h", hours(0, 6), native=series(hours(*native)), minutes=series(hours(*minutes)))
    assert found.source == source


def test_a_stale_minute_has_its_whole_bar_built_anew():
    stale = (START + 90 * MINUTE, START + 91 * MINUTE)
    found = plan("1h", hours(0, 48), minutes=series(hours(0, 48)), stale=[stale])
    assert [(read.table, read.keep) for read in found.reads] == [
        ("candle_1h", (hours(0, 1), hours(2, 48))),
        ("ohlcv", (hours(1, 2),)),
    ]


def test_a_stale_day_in_a_month_leaves_the_other_days_to_the_rollup():
    month = (START, START + 31 * DAY)
    stale = (START + 30 * DAY, START + 31 * DAY)
    found = plan("1M", month, minutes=series(month), stale=[stale])
    assert [(read.table, read.span) for read in found.reads] == [
        ("candle_1d", (START, START + 30 * DAY)),
        ("ohlcv", stale),
    ]


def test_ranges_far_apart_are_read_one_by_one_and_near_ones_together():
    stale = [hours(0, 1), hours(3, 4), hours(1000, 1001)]
    found = plan("1h", hours(0, 1200), minutes=series(hours(0, 1200)), stale=stale)
    minute_reads = [read for read in found.reads if read.table == "ohlcv"]
    assert [(read.span, read.keep) for read in minute_reads] == [
        (hours(0, 4), (hours(0, 1), hours(3, 4))),
        (hours(1000, 1001), (hours(1000, 1001),)),
    ]


def test_a_stale_bar_whose_minutes_are_dropped_is_not_known():
    minutes = series(hours(0, 10), dropped_before=hours(2.5, 0)[0])
    found = plan("1h", hours(0, 10), minutes=minutes, stale=[hours(1, 4)])
    assert found.known == (hours(0, 1), hours(3, 10))
    assert found.gaps == (hours(1, 2.5),)
    assert found.incomplete == (hours(2, 3),)
    assert found.dropped_before == hours(2.5, 0)[0]


def test_dropped_minutes_do_not_matter_where_rollups_stand_for_them():
    found = plan("1h", hours(0, 10), minutes=series(hours(0, 10), dropped_before=hours(5, 0)[0]))
    assert (found.known, found.gaps, found.dropped_before) == ((hours(0, 10),), (), None)


@pytest.mark.parametrize(("fetched_from", "says_so"), [(0, True), (4, True), (5, False), (6, False)])
def test_retention_is_named_only_where_it_took_something(fetched_from: float, says_so: bool):
    dropped_before = hours(5, 0)[0]
    native = series(hours(fetched_from, 10), dropped_before=dropped_before)
    found = plan("1m", hours(0, 10), native=native)
    assert found.dropped_before == (dropped_before if says_so else None)
    assert found.known == (hours(max(5, fetched_from), 10),)


def test_covered_and_gaps_tile_the_window():
    found = plan("1h", hours(0, 10), minutes=series(hours(0.5, 3), hours(4, 8.25)))
    assert found.covered == (hours(0.5, 3), hours(4, 8.25))
    assert found.gaps == (hours(0, 0.5), hours(3, 4), hours(8.25, 10))
    assert found.known == (hours(1, 3), hours(4, 8))
    assert found.incomplete == (hours(0, 1), hours(8, 9))
    assert found.known_bars == 6


@pytest.mark.parametrize(
    ("name", "stored", "base"),
    [
        ("1s", "trade_candle_1s", "1s"),
        ("15s", "trade_candle_1s", "1s"),
        ("90s", "trade_candle_1s", "1s"),
        ("1m", "trade_candle_1m", "1m"),
        ("5m", "trade_candle_1m", "1m"),
        ("1w", "trade_candle_1m", "1m"),
        ("1M", "trade_candle_1m", "1m"),
    ],
)
def test_bars_of_trades_are_built_from_the_longest_that_tile_them(name: str, stored: str, base: str):
    window = (START, datetime(2024, 7, 1, tzinfo=UTC))
    fresh = plan_trade_candles(timeframe(name), window, series(window))
    behind = plan_trade_candles(timeframe(name), window, replace(series(window), stale_rollups=(window,)))
    assert (fresh.source, [(read.table, str(read.timeframe)) for read in fresh.reads]) == ("trades", [(stored, base)])
    assert (behind.source, [(read.table, str(read.timeframe)) for read in behind.reads]) == (
        "trades",
        [("trade", base)],
    )


def test_only_bars_that_are_behind_are_built_from_trades():
    window = hours(0, 5)
    stale = ((START + 61.5 * MINUTE, START + 61.6 * MINUTE),)
    found = plan_trade_candles(timeframe("5m"), window, replace(series(window), stale_rollups=stale))
    rollup, trades = found.reads
    minute = (START + 61 * MINUTE, START + 62 * MINUTE)
    assert (rollup.table, rollup.keep) == ("trade_candle_1m", ((START, minute[0]), (minute[1], window[1])))
    assert (trades.table, trades.span, trades.keep) == ("trade", minute, (minute,))
    assert found.known == (window,)


def test_what_is_stored_of_a_series_tiles_the_window():
    stored = series(hours(1, 2), hours(3, 9), dropped_before=START + 1.5 * 60 * MINUTE)
    found = reach_of(stored, hours(0, 4))
    assert found.covered == (hours(1.5, 2), hours(3, 4))
    assert found.gaps == (hours(0, 1.5), hours(2, 3))
    assert found.dropped_before == START + 90 * MINUTE
    assert reach_of(stored, hours(3, 4)).dropped_before is None
