"""split_candles against a slow reference in plain Python that shares no code with it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf, isfinite, nan
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from tapehouse.ranges import TimeRange
from tapehouse.timeframe import timeframe
from tapehouse.validate import split_candles

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTHS = {
    "1m": timedelta(minutes=1),
    "15m": timedelta(minutes=15),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "1w": timedelta(days=7),
}
WINDOW_START = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday, the first of a month
Rows = list[Any]


@dataclass
class Expected:
    good: dict[datetime, list[float]] = field(default_factory=dict[datetime, list[float]])
    rejected_times: list[datetime | None] = field(default_factory=list[datetime | None])
    covered: list[TimeRange] = field(default_factory=list[TimeRange])


def reference(rows: Rows, name: str, start: datetime, end: datetime) -> Expected:
    expected = Expected()
    all_tell_their_place = True
    bad_opens: set[datetime] = set()
    for row in rows:
        cells = cast("Rows", row) if isinstance(row, list) else []
        time_ms, *values = [number(cell) for cell in cells] if len(cells) == 6 else [nan] * 6
        time = believable(time_ms)
        if time is not None and is_open_time(name, time) and start <= time < end and is_candle(*values):
            expected.good[time] = values
            continue
        expected.rejected_times.append(time)
        if time is None or not is_open_time(name, time):
            all_tell_their_place = False
        else:
            bad_opens.add(time)
    opens = [WINDOW_START]
    while opens[-1] < end:
        opens.append(close_of(name, opens[-1]))
    edges = sorted({start, end, *(opened for opened in opens if start < opened < end)})
    for piece in pairwise(edges):
        opened = max(opened for opened in opens if opened <= piece[0])
        # A candle that opened before the window is not in question.
        is_bad = opened in bad_opens and opened >= start
        if opened in expected.good or (all_tell_their_place and not is_bad):
            append_merged(expected.covered, piece)
    return expected


def number(cell: object) -> float:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return nan
    try:
        return float(cell)
    except ValueError:
        return nan


def believable(time_ms: float) -> datetime | None:
    is_of_this_century = isfinite(time_ms) and 946_684_800_000 <= time_ms < 4_102_444_800_000
    return EPOCH + timedelta(milliseconds=time_ms) if is_of_this_century else None


def is_candle(o: float, h: float, low: float, c: float, v: float) -> bool:
    if not all(isfinite(value) for value in (o, h, low, c, v)):
        return False
    return 0 < low <= o <= h and low <= c <= h and v >= 0


def is_open_time(name: str, time: datetime) -> bool:
    is_midnight = (time.hour, time.minute, time.second, time.microsecond) == (0, 0, 0, 0)
    if name == "1M":
        return is_midnight and time.day == 1
    if name == "1w":
        return is_midnight and time.weekday() == 0
    return (time - EPOCH) % LENGTHS[name] == timedelta(0)


def close_of(name: str, opened: datetime) -> datetime:
    if name != "1M":
        return opened + LENGTHS[name]
    return opened.replace(year=opened.year + opened.month // 12, month=opened.month % 12 + 1)


def append_merged(windows: list[TimeRange], window: TimeRange) -> None:
    if windows and windows[-1][1] == window[0]:
        windows[-1] = (windows[-1][0], window[1])
    else:
        windows.append(window)


GOOD_VALUES: Rows = [[9, 12, 8.75, 10.0, 0], [9.5, 12.5, 9, 9.0, 1.5], ["9.1", "9.1", "9.1", 9.1, "2"]]
ODD_VALUES: Rows = [10.0, 11, "10.5", 9.25, None, True, "abc", "", nan, inf, -inf, 0, -1.0, [], {}]
JUNK: Rows = [None, "<html>", [], [1, 2], {}, [None] * 6, [None] * 7]


@st.composite
def times(draw: st.DrawFn, name: str) -> Any:
    bars = draw(st.integers(-1, 6))
    opened = WINDOW_START if bars >= 0 else datetime(2023, 10, 2, tzinfo=UTC)
    for _ in range(bars):
        opened = close_of(name, opened)
    ms = (opened - EPOCH) // timedelta(milliseconds=1)
    odd: Rows = [ms + 1, ms + 0.5, str(ms), float(ms), ms // 1000, None, -ms, True, "soon", 10**30, nan]
    return ms if draw(st.integers(0, 3)) else draw(st.sampled_from(odd))


@st.composite
def some_row(draw: st.DrawFn, name: str) -> Any:
    kind = draw(st.sampled_from(["good", "good", "good", "odd", "junk"]))
    if kind == "junk":
        return draw(st.sampled_from(JUNK))
    values: Rows = (
        draw(st.sampled_from(GOOD_VALUES)) if kind == "good" else [draw(st.sampled_from(ODD_VALUES)) for _ in range(5)]
    )
    return [draw(times(name)), *values]


@st.composite
def pages(draw: st.DrawFn) -> tuple[str, Rows, datetime, datetime]:
    name = draw(st.sampled_from([*LENGTHS, "1M"]))
    rows: Rows = draw(st.lists(some_row(name), max_size=12))
    length = close_of(name, WINDOW_START) - WINDOW_START
    start = WINDOW_START + draw(st.sampled_from([timedelta(0), length / 2]))
    end = WINDOW_START + 3 * length + draw(st.sampled_from([timedelta(0), length / 3]))
    return name, rows, start, end


@settings(max_examples=100)
@given(pages())
def test_the_split_is_that_of_a_slow_reference(page: tuple[str, Rows, datetime, datetime]):
    name, rows, start, end = page
    expected = reference(rows, name, start, end)
    outcome = split_candles(rows, timeframe(name), start=start, end=end)
    good = outcome.good
    values = zip(good.open, good.high, good.low, good.close, good.volume, strict=True)
    opens = [EPOCH + timedelta(microseconds=int(time_us)) for time_us in good.time_us]
    assert opens == sorted(expected.good)
    assert dict(zip(opens, map(list, values), strict=True)) == expected.good
    assert [reject.time for reject in outcome.rejected] == expected.rejected_times
    assert all(reject.reasons for reject in outcome.rejected)
    assert outcome.covered == expected.covered
