"""split_candles against a slow reference in plain Python that shares no code with it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf, isfinite, nan

from hypothesis import given, settings
from hypothesis import strategies as st

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


def close_of(name: str, opened: datetime) -> datetime:
    if name != "1M":
        return opened + LENGTHS[name]
    return opened.replace(year=opened.year + opened.month // 12, month=opened.month % 12 + 1)


def is_open_time(name: str, time: datetime) -> bool:
    midnight = (time.hour, time.minute, time.second, time.microsecond) == (0, 0, 0, 0)
    if name == "1M":
        return midnight and time.day == 1
    if name == "1w":
        return midnight and time.weekday() == 0
    return (time - EPOCH) % LENGTHS[name] == timedelta(0)


@dataclass
class Expected:
    good: dict[datetime, list[float]] = field(default_factory=dict)
    rejected: list[tuple[datetime | None, object]] = field(default_factory=list)
    covered: list[tuple[datetime, datetime]] = field(default_factory=list)


def number(cell: object) -> float | None:
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return float(cell)
    if isinstance(cell, str):
        try:
            return float(cell)
        except ValueError:
            return None
    return None


def reference(rows: list[object], name: str, start: datetime, end: datetime) -> Expected:
    expected = Expected()
    placeable = True
    bad_times: set[datetime] = set()
    for row in rows:
        numbers = [number(cell) for cell in row] if isinstance(row, list) and len(row) == 6 else [None] * 6
        time = believable(numbers[0])
        values = numbers[1:]
        in_place = time is not None and numbers[0] == int(numbers[0]) and is_open_time(name, time)
        if in_place and start <= time < end and all(v is not None and isfinite(v) for v in values):
            o, h, low, c, v = values
            if min(o, h, low, c) > 0 and h == max(o, h, low, c) and low == min(o, h, low, c) and v >= 0:
                expected.good[time] = values
                continue
        expected.rejected.append((time, row))
        placeable &= in_place
        if in_place:
            bad_times.add(time)
    edges = sorted({start, end} | {edge for edge in window_edges(name, start, end)})
    for left, right in zip(edges, edges[1:], strict=False):
        opened = max(edge for edge in all_opens(name, start, end) if edge <= left)
        if opened in expected.good or (placeable and opened not in bad_times):
            append_merged(expected.covered, (left, right))
        elif placeable and opened < start:
            append_merged(expected.covered, (left, right))
    return expected


def believable(ms: float | None) -> datetime | None:
    if ms is None or not isfinite(ms) or not 946_684_800_000 <= ms < 4_102_444_800_000:
        return None
    return EPOCH + timedelta(milliseconds=ms)


def all_opens(name: str, start: datetime, end: datetime) -> list[datetime]:
    opens = [WINDOW_START]
    while opens[-1] < end:
        opens.append(close_of(name, opens[-1]))
    return opens


def window_edges(name: str, start: datetime, end: datetime) -> list[datetime]:
    return [edge for edge in all_opens(name, start, end) if start < edge < end]


def append_merged(windows: list[tuple[datetime, datetime]], window: tuple[datetime, datetime]) -> None:
    if windows and windows[-1][1] == window[0]:
        windows[-1] = (windows[-1][0], window[1])
    else:
        windows.append(window)


prices = st.one_of(
    st.sampled_from([10.0, 11, "10.5", 9.25]),
    st.sampled_from([None, True, "abc", "", nan, inf, -inf, 0, -1.0, [], {}]),
)
clean = st.tuples(st.sampled_from([9, 9.5]), st.sampled_from([12, 12.5]), st.sampled_from([8.75, 9]), st.just(10.0))


@st.composite
def times(draw: st.DrawFn, name: str) -> object:
    bars = draw(st.integers(-1, 6))
    opened = WINDOW_START if bars >= 0 else WINDOW_START - timedelta(days=31)
    for _ in range(bars):
        opened = close_of(name, opened)
    ms = (opened - EPOCH) // timedelta(milliseconds=1)
    odd = st.sampled_from([ms + 1, ms + 0.5, str(ms), float(ms), ms // 1000, None, -ms, True, "soon", 10**30, nan])
    return draw(st.one_of(st.just(ms), st.just(ms), st.just(ms), odd))


@st.composite
def pages(draw: st.DrawFn) -> tuple[str, list[object], datetime, datetime]:
    name = draw(st.sampled_from([*LENGTHS, "1M"]))
    tidy = st.builds(lambda time, ohlc, v: [time, *ohlc, v], times(name), clean, st.sampled_from([0, 1.5, "2"]))
    wild = st.builds(lambda time, cells: [time, *cells], times(name), st.lists(prices, min_size=5, max_size=5))
    junk = st.sampled_from([None, "<html>", [], [1, 2], {}, [None] * 6, [None] * 7])
    rows = draw(st.lists(st.one_of(tidy, tidy, tidy, wild, junk), max_size=12))
    length = close_of(name, WINDOW_START) - WINDOW_START
    start = WINDOW_START + draw(st.sampled_from([timedelta(0), timedelta(0), length / 2]))
    end = WINDOW_START + 3 * length + draw(st.sampled_from([timedelta(0), length / 3]))
    return name, rows, start, end


@settings(max_examples=250, deadline=None)
@given(pages())
def test_the_split_is_that_of_a_slow_reference(page: tuple[str, list[object], datetime, datetime]):
    name, rows, start, end = page
    expected = reference(rows, name, start, end)
    outcome = split_candles(rows, timeframe(name), start=start, end=end)
    values = zip(*(getattr(outcome.good, column) for column in ("open", "high", "low", "close", "volume")), strict=True)
    times_good = [EPOCH + timedelta(microseconds=int(time)) for time in outcome.good.time_us]
    assert dict(zip(times_good, map(list, values), strict=True)) == expected.good
    assert times_good == sorted(expected.good)
    assert [reject.time for reject in outcome.rejected] == [time for time, _ in expected.rejected]
    assert all(reject.reasons for reject in outcome.rejected)
    assert outcome.covered == expected.covered
