"""Gaps: where a series has no usable rows, and why; told from the ledgers and, for candles, from what is stored.

Order books are sampled, so nothing of them can be fetched later: what is missing of them shows in the coverage alone.
How gaps are closed is `tapehouse.ingest.repair`'s business.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from psycopg.types.range import TimestamptzRange

from tapehouse.errors import ReversedRange
from tapehouse.ranges import TimeRange, intersect_ranges, subtract_ranges
from tapehouse.store.connection import Connection, one_row, snapshot, store_errors
from tapehouse.store.instruments import CandleSeries, TradeSeries
from tapehouse.store.sql import query
from tapehouse.timeframe import aware_range, aware_utc
from tapehouse.trade import TRADE_SPAN_US

Cause = Literal[
    "never_asked",
    "exchange_empty",
    "failed",
    "rejected",
    "before_listing",
    "after_delisting",
    "beyond_exchange_history",
    "more_than_a_page",
]
AskedSeries: TypeAlias = CandleSeries | TradeSeries

_EVER: Final = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Gap:
    """A part [start, end) of a series without usable rows, for one cause; of candles it is whole bars.

    - `never_asked`: not fetched, and nothing is known of it;
    - `exchange_empty`: bars that the exchange answered for, without a candle;
    - `failed`: asked for and given up on after retries;
    - `rejected`: what came failed validation and is in quarantine;
    - `before_listing`: before the exchange has anything of the series;
    - `after_delisting`: after an instrument that is no longer traded was listed last, or after its last row where
      all from there to then was fetched;
    - `beyond_exchange_history`: the exchange no longer gives it;
    - `more_than_a_page`: so many trades at one point in time that the exchange does not give all of them.

    `attempts` counts the times it was asked for in vain; before `next_try_at` it is not asked for again.
    """

    series: AskedSeries
    start: datetime
    end: datetime
    cause: Cause
    attempts: int
    next_try_at: datetime | None

    @property
    def range(self) -> TimeRange:
        """From when to when, half-open."""
        return self.start, self.end

    @property
    def bars(self) -> int | None:
        """How many candles are missing; None for trades."""
        return self.series.timeframe.count(*self.range) if isinstance(self.series, CandleSeries) else None


def find_gaps(
    connection: Connection, series: AskedSeries, start: datetime | None = None, end: datetime | None = None
) -> list[Gap]:
    """The gaps of a series, oldest first; adjacent ones of one cause are one.

    Without bounds from the first to the last moment that was ever to be fetched; `start` and `end` may
    lie outside of that, up to now. What retention has dropped is no gap. Raises NaiveDatetime, ReversedRange,
    and StoreError.
    """
    # What is written or deleted meanwhile would look like gaps that never were.
    with store_errors(), snapshot(connection):
        facts = _Facts(*one_row(connection.execute(query("read_gap_facts"), {"series_id": series.series_id})))
        window = _window(series, facts, start, end)
        if window is None:
            return []
        known = _whole(series, intersect_ranges(_ranges(facts.covered), [window]))
        empty = _empty(connection, series, facts, known)
        tries = _read_tries(connection, series, window)
    return _merged(_explained(series, facts, subtract_ranges([window], known), empty, tries))


@dataclass(frozen=True, slots=True)
class _Facts:
    """A row of read_gap_facts."""

    covered: Iterable[TimestamptzRange]
    rows: int
    asked_from: datetime | None
    asked_until: datetime | None
    begins_at: datetime | None
    is_active: bool
    last_seen_at: datetime
    last_row_at: datetime | None
    dropped_before: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class _Try:
    """A range that was asked for in vain, as the ledger has it."""

    start: datetime
    end: datetime
    cause: Cause
    attempts: int
    next_try_at: datetime


def _window(series: AskedSeries, facts: _Facts, start: datetime | None, end: datetime | None) -> TimeRange | None:
    """What to look at, in whole bars; None if that is nothing."""
    if start and end:
        start, end = aware_range(start, end)
    first = aware_utc(start) if start else facts.asked_from
    stop = min(aware_utc(end), facts.now) if end else facts.asked_until or facts.now
    if first is None:
        return None
    if start and not end and start > facts.now:
        raise ReversedRange(f"The range starts at {start.isoformat()}, which is in the future: begin earlier.")
    first = max(first, facts.dropped_before or first)
    if isinstance(series, CandleSeries):
        first, stop = series.timeframe.ceil(first), series.timeframe.floor(stop)
    return (first, stop) if first < stop else None


def _empty(connection: Connection, series: AskedSeries, facts: _Facts, known: Sequence[TimeRange]) -> list[TimeRange]:
    """What of the known ranges has no rows and therefore is a gap: of trades only what lies outside of their market."""
    if not known:
        return []
    if isinstance(series, TradeSeries):
        return subtract_ranges(known, [_trading(series, facts)])
    if facts.rows == sum(series.timeframe.count(*one) for one in _kept(facts)):
        return []
    bar_months, bar_seconds = (1, 0) if series.timeframe.is_monthly else (0, series.timeframe.seconds)
    parameters = {
        "instrument_id": series.instrument.instrument_id,
        "timeframe_s": series.timeframe.seconds,
        "start": known[0][0],
        "end": known[-1][1],
        "months": bar_months,
        "seconds": bar_seconds,
    }
    # A plan kept for any times would have to look at all chunks.
    runs = connection.execute(query("read_empty_bars"), parameters, prepare=False).fetchall()
    return intersect_ranges(((start, end) for start, end in runs), known)


def _kept(facts: _Facts) -> list[TimeRange]:
    return intersect_ranges(_ranges(facts.covered), [(facts.dropped_before or _EVER[0], _EVER[1])])


def _trading(series: AskedSeries, facts: _Facts) -> TimeRange:
    """From the first to the last moment that the exchange may have rows of, as far as that is known."""
    begins_at, ends_at = facts.begins_at or _EVER[0], _EVER[1]
    if not facts.is_active:
        ends_at = _last_row_end(series, facts) or _next_start(series, facts.last_seen_at)
    return begins_at, max(begins_at, ends_at)


def _last_row_end(series: AskedSeries, facts: _Facts) -> datetime | None:
    """The end of a delisted market's last row; None where more may follow the last stored one."""
    if facts.last_row_at is None:
        return None
    end = _row_end(series, facts.last_row_at)
    covered = _whole(series, _ranges(facts.covered))
    is_last = any(start <= end and facts.last_seen_at <= stop for start, stop in covered)
    return end if is_last else None


def _row_end(series: AskedSeries, time: datetime) -> datetime:
    if isinstance(series, CandleSeries):
        return series.timeframe.close(time)
    return time + timedelta(microseconds=TRADE_SPAN_US)


def _read_tries(connection: Connection, series: AskedSeries, window: TimeRange) -> list[_Try]:
    """What was asked for in vain, in whole bars, the latest first."""
    parameters = {"series_id": series.series_id, "window": TimestamptzRange(*window)}
    rows = connection.execute(query("read_unavailable"), parameters).fetchall()
    return [_try(series, *row) for row in rows]


def _try(series: AskedSeries, during: TimestamptzRange, cause: Cause, attempts: int, next_try_at: datetime) -> _Try:
    [(start, end)] = _ranges([during])
    if isinstance(series, CandleSeries):
        start, end = series.timeframe.floor(start), series.timeframe.ceil(end)
    return _Try(start, end, cause, attempts, next_try_at)


def _explained(
    series: AskedSeries,
    facts: _Facts,
    unknown: Sequence[TimeRange],
    empty: Sequence[TimeRange],
    tries: Sequence[_Try],
) -> Iterator[Gap]:
    """The gaps, each with its cause, in any order."""
    begins_at, ends_at = _trading(series, facts)
    delisted_at = max(begins_at, _EVER[1] if facts.is_active else _next_start(series, facts.last_seen_at))
    in_vain = intersect_ranges(empty, [(begins_at, min(ends_at, delisted_at))])
    open_ones = intersect_ranges(unknown, [(begins_at, delisted_at)])
    before = intersect_ranges((*unknown, *empty), [(_EVER[0], begins_at)])
    after = subtract_ranges((*unknown, *empty), (*in_vain, *open_ones, *before))
    for start, end in before:
        yield Gap(series, start, end, "before_listing", 0, None)
    for start, end in after:
        yield Gap(series, start, end, "after_delisting", 0, None)
    for one in _told(in_vain, [one for one in tries if one.cause == "exchange_empty"]):
        yield _gap(series, *one, "exchange_empty")
    for one in _told(open_ones, [one for one in tries if one.cause != "exchange_empty"]):
        yield _gap(series, *one, "never_asked")


def _next_start(series: AskedSeries, time: datetime) -> datetime:
    return series.timeframe.ceil(time) if isinstance(series, CandleSeries) else time


def _gap(series: AskedSeries, start: datetime, end: datetime, told: _Try | None, untold: Cause) -> Gap:
    if told is None:
        return Gap(series, start, end, untold, 0, None)
    return Gap(series, start, end, told.cause, told.attempts, told.next_try_at)


def _told(ranges: Sequence[TimeRange], tries: Sequence[_Try]) -> Iterator[tuple[datetime, datetime, _Try | None]]:
    """The ranges, disjoint and sorted, in pieces: each with the latest try of it; `tries` are the latest first."""
    latest = list(_latest(tries))
    place = 0
    for start, end in ranges:
        while place < len(latest) and latest[place][1] <= start:
            place += 1
        at = place
        while at < len(latest) and latest[at][0] < end:
            first, stop, told = latest[at]
            if start < first:
                yield start, first, None
            yield max(start, first), min(end, stop), told
            start, at = min(end, stop), at + 1
        if start < end:
            yield start, end, None


def _latest(tries: Sequence[_Try]) -> Iterator[tuple[datetime, datetime, _Try]]:
    """What the tries, the latest first, are about: in disjoint pieces, oldest first, each with the latest try of it."""
    bounds = sorted({bound for one in tries for bound in (one.start, one.end)})
    waiting = sorted(range(len(tries)), key=lambda rank: tries[rank].start, reverse=True)
    current: list[int] = []
    for start, end in pairwise(bounds):
        while waiting and tries[waiting[-1]].start <= start:
            heappush(current, waiting.pop())
        while current and tries[current[0]].end <= start:
            heappop(current)
        if current:
            yield start, end, tries[current[0]]


def _merged(gaps: Iterable[Gap]) -> list[Gap]:
    """The gaps, oldest first, adjacent ones of one cause as one, which waits as long as its last part."""
    merged: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: gap.start):
        last = merged[-1] if merged else None
        if last is None or (last.end, last.cause) != (gap.start, gap.cause):
            merged.append(gap)
            continue
        waits = [one.next_try_at for one in (last, gap) if one.next_try_at]
        merged[-1] = replace(
            last,
            end=gap.end,
            attempts=max(last.attempts, gap.attempts),
            next_try_at=max(waits, default=None),
        )
    return merged


def _whole(series: AskedSeries, ranges: Sequence[TimeRange]) -> list[TimeRange]:
    """The ranges, of candles as far as they hold whole bars."""
    if isinstance(series, TradeSeries):
        return list(ranges)
    return [
        (start, end)
        for start, end in ((series.timeframe.ceil(start), series.timeframe.floor(end)) for start, end in ranges)
        if start < end
    ]


def _ranges(multirange: Iterable[TimestamptzRange]) -> list[TimeRange]:
    """The ranges, which are bounded."""
    return [(one.lower, one.upper) for one in multirange if one.lower is not None and one.upper is not None]
