"""The planner: which stored rows answer a question for candles, and which bars may be answered at all.

It only compares time ranges: it knows no database and no rows. A derived bar is a bar only
if all of the time under it was fetched, and a rollup is trusted only where nothing was written
since it was refreshed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from tapehouse.ranges import Substitute, TimeRange, intersect_ranges, merge_ranges, subtract_ranges
from tapehouse.store.archive import Archived
from tapehouse.timeframe import Timeframe
from tapehouse.timeframe import timeframe as timeframe_named

Source = Literal["native", "rollup", "resampled", "rollup+resampled", "trades"]
Table = Literal[
    "ohlcv",
    "candle_5m",
    "candle_15m",
    "candle_1h",
    "candle_4h",
    "candle_1d",
    "trade",
    "trade_candle_1s",
    "trade_candle_1m",
]

SECOND: Final = timeframe_named("1s")
MINUTE: Final = timeframe_named("1m")
ROLLUPS: Final[dict[Timeframe, Table]] = {
    timeframe_named("5m"): "candle_5m",
    timeframe_named("15m"): "candle_15m",
    timeframe_named("1h"): "candle_1h",
    timeframe_named("4h"): "candle_4h",
    timeframe_named("1d"): "candle_1d",
}
TRADE_ROLLUPS: Final[dict[Timeframe, Table]] = {SECOND: "trade_candle_1s", MINUTE: "trade_candle_1m"}
# Two reads of one table that lie closer than this many rows cost less as one read.
_ROWS_WORTH_SKIPPING: Final = 2000


@dataclass(frozen=True, slots=True)
class SeriesState:
    """A stored series within the window asked for.

    `covered` is what of the window was asked of the exchange and answered; rows before
    `dropped_before` are no longer stored. `substitutes` are its first rows, in ranges, that are not the
    exchange's own. `stale_rollups` and `stale_features` are where what is
    derived from its rows is behind, and before `book_features_dropped_before` and `imbalances_dropped_before`
    what is computed from them is no longer stored. `id_bytes` is the length of the longest id of a trade that is
    a text, 0 where all are whole numbers. `archived` is what files hold of its dropped rows.
    """

    revision: int
    covered: tuple[TimeRange, ...]
    dropped_before: datetime | None
    substitutes: tuple[Substitute, ...] = ()
    stale_rollups: tuple[TimeRange, ...] = ()
    stale_features: tuple[TimeRange, ...] = ()
    id_bytes: int = 0
    archived: Archived | None = None
    book_features_dropped_before: datetime | None = None
    imbalances_dropped_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """What of a window is at hand of a series: `covered` and `gaps` tile it, `archived` of it comes from files.

    `dropped_before` is given where retention has taken something away from the window.
    """

    covered: tuple[TimeRange, ...]
    gaps: tuple[TimeRange, ...]
    archived: tuple[TimeRange, ...]
    dropped_before: datetime | None


@dataclass(frozen=True, slots=True)
class Read:
    """Candles of one table to read: those that open in `span`, of which those in `keep` count.

    Trades are read as candles of `timeframe`.
    """

    table: Table
    timeframe: Timeframe
    span: TimeRange
    keep: tuple[TimeRange, ...]

    @property
    def name(self) -> str:
        """What is read, in words: the table, for ohlcv with the timeframe."""
        return f"{self.table} {self.timeframe}" if self.table == "ohlcv" else self.table


@dataclass(frozen=True, slots=True)
class Plan:
    """How a question for candles is answered.

    `known` are whole bars, each with a candle or known to be empty. `covered` and `gaps` tile
    `window`, the closed bars asked for. `incomplete` are bars of which only a part is covered.
    The rows of `archived` come from files. `dropped_before` is given where retention has taken something away
    from the answer. `repaired` are ranges of the series read whose rows are not the exchange's own.
    """

    source: Source
    timeframe: Timeframe
    revision: int
    window: TimeRange
    reads: tuple[Read, ...]
    known: tuple[TimeRange, ...]
    covered: tuple[TimeRange, ...]
    gaps: tuple[TimeRange, ...]
    incomplete: tuple[TimeRange, ...]
    archived: tuple[TimeRange, ...]
    dropped_before: datetime | None
    repaired: tuple[Substitute, ...]

    @property
    def known_bars(self) -> int:
        """How many bars are known."""
        return sum(self.timeframe.count(start, end) for start, end in self.known)


def closed_window(timeframe: Timeframe, start: datetime, end: datetime, now: datetime) -> TimeRange:
    """The bars that open at or after `start` and have closed by `end` and by `now`; maybe none."""
    stop = timeframe.floor(min(end, now))
    return (min(timeframe.ceil(start), stop), stop) if start < stop else (stop, stop)


def derivable_from_minutes(timeframe: Timeframe) -> bool:
    """Whether bars of that timeframe can be built from 1m candles."""
    return timeframe > MINUTE and timeframe.seconds % MINUTE.seconds == 0


def plan_candles(
    timeframe: Timeframe, window: TimeRange, *, native: SeriesState | None, minutes: SeriesState | None
) -> Plan | None:
    """The plan that knows most of the window's bars, native candles first; None if nothing stored can answer.

    `native` is the series of the timeframe asked for, `minutes` the 1m series.
    """
    plans: list[Plan] = []
    if native is not None:
        plans.append(plan_native_candles(timeframe, window, native))
    if minutes is not None and derivable_from_minutes(timeframe):
        plans.append(plan_minute_candles(timeframe, window, minutes))
    return max(plans, key=lambda plan: plan.known_bars, default=None)


def plan_native_candles(timeframe: Timeframe, window: TimeRange, series: SeriesState) -> Plan:
    """The plan that reads the window's bars as the exchange gave them."""
    reach = reach_of(series, window)
    known = _whole_bars(timeframe, reach.covered)
    return Plan(
        source="native",
        timeframe=timeframe,
        revision=series.revision,
        window=window,
        reads=tuple(Read("ohlcv", timeframe, hull, (hull,)) for hull in _hull(reach.covered)),
        known=tuple(known),
        covered=reach.covered,
        gaps=reach.gaps,
        incomplete=tuple(_bars_touched(timeframe, subtract_ranges(reach.covered, known))),
        archived=reach.archived,
        dropped_before=reach.dropped_before,
        repaired=_within(window, series.substitutes),
    )


def plan_minute_candles(timeframe: Timeframe, window: TimeRange, minutes: SeriesState) -> Plan:
    """The plan that builds the window's bars from 1m candles, where `derivable_from_minutes`."""
    return _plan_derived(timeframe, window, minutes, _from_minutes(timeframe))


def plan_trade_candles(timeframe: Timeframe, window: TimeRange, trades: SeriesState) -> Plan:
    """The plan that builds the window's bars from trades."""
    return _plan_derived(timeframe, window, trades, _from_trades(timeframe))


def reach_of(series: SeriesState, window: TimeRange) -> Reach:
    """What of the window is stored of a series whose rows are read as they are."""
    fetched = intersect_ranges(series.covered, [window])
    lost, archived = _dropped(series, fetched)
    covered = subtract_ranges(fetched, lost)
    gaps = subtract_ranges([window], covered)
    return Reach(tuple(covered), tuple(gaps), tuple(archived), series.dropped_before if lost else None)


def derived_reach_of(series: SeriesState, window: TimeRange, dropped_before: datetime | None) -> Reach:
    """What of the window is known of what was computed from a series, which has a retention of its own."""
    return reach_of(replace(series, dropped_before=dropped_before, archived=None), window)


@dataclass(frozen=True, slots=True)
class _Origin:
    """What candles are derived from: those of `base` in `rollup`, else rows of `table` as candles of `unit`."""

    rollup: Table | None
    base: Timeframe
    table: Table
    unit: Timeframe


def _from_minutes(timeframe: Timeframe) -> _Origin:
    """The longest candles that tile those asked for; months are tiled by days."""
    tiling = [rollup for rollup in ROLLUPS if rollup <= timeframe and timeframe.seconds % rollup.seconds == 0]
    base = max(tiling, default=MINUTE)
    return _Origin(ROLLUPS.get(base), base, "ohlcv", MINUTE)


def _from_trades(timeframe: Timeframe) -> _Origin:
    base = SECOND if timeframe.seconds % MINUTE.seconds else MINUTE
    return _Origin(TRADE_ROLLUPS[base], base, "trade", base)


def _plan_derived(timeframe: Timeframe, window: TimeRange, series: SeriesState, origin: _Origin) -> Plan:
    covered = intersect_ranges(series.covered, [window])
    known = _whole_bars(timeframe, covered)
    # What the rollups can't be trusted with is built anew from the rows, where they still are.
    rebuilt = intersect_ranges(known, _bars_touched(origin.base, series.stale_rollups)) if origin.rollup else known
    lost, archived = _dropped(series, rebuilt)
    if lost:
        covered = subtract_ranges(covered, lost)
        known = subtract_ranges(known, _bars_touched(timeframe, lost))
        rebuilt = intersect_ranges(rebuilt, known)
    rolled_up = subtract_ranges(known, rebuilt)
    reads = _reads(origin.table, origin.unit, rebuilt)
    if origin.rollup and rolled_up:
        reads = _reads(origin.rollup, origin.base, rolled_up) + reads
    return Plan(
        source=_derived_source(timeframe, origin, rolled_up=bool(rolled_up), rebuilt=bool(rebuilt)),
        timeframe=timeframe,
        revision=series.revision,
        window=window,
        reads=tuple(reads),
        known=tuple(known),
        covered=tuple(covered),
        gaps=tuple(subtract_ranges([window], covered)),
        incomplete=tuple(intersect_ranges(_bars_touched(timeframe, subtract_ranges(covered, known)), [window])),
        archived=tuple(intersect_ranges(archived, rebuilt)),
        dropped_before=series.dropped_before if lost else None,
        repaired=_within(window, series.substitutes),
    )


def _within(window: TimeRange, substitutes: Sequence[Substitute]) -> tuple[Substitute, ...]:
    """The part of them that lies in the window."""
    cut = (Substitute(max(one.start, window[0]), min(one.end, window[1]), one.source) for one in substitutes)
    return tuple(one for one in cut if one.start < one.end)


def _derived_source(timeframe: Timeframe, origin: _Origin, *, rolled_up: bool, rebuilt: bool) -> Source:
    if origin.table == "trade":
        return "trades"
    if timeframe == origin.base and not rebuilt:
        return "rollup"
    return "rollup+resampled" if timeframe == origin.base and rolled_up else "resampled"


def _reads(table: Table, stored: Timeframe, ranges: Sequence[TimeRange]) -> list[Read]:
    """As few reads as sensible: ranges with little between them are read in one go."""
    little = stored.length * _ROWS_WORTH_SKIPPING
    spans = merge_ranges((start, end + little) for start, end in ranges)
    return [_read(table, stored, (start, end - little), ranges) for start, end in spans]


def _read(table: Table, stored: Timeframe, span: TimeRange, ranges: Sequence[TimeRange]) -> Read:
    return Read(table, stored, span, tuple(one for one in ranges if span[0] <= one[0] < span[1]))


def _whole_bars(timeframe: Timeframe, ranges: Iterable[TimeRange]) -> list[TimeRange]:
    return merge_ranges((timeframe.ceil(start), timeframe.floor(end)) for start, end in ranges)


def _bars_touched(timeframe: Timeframe, ranges: Iterable[TimeRange]) -> list[TimeRange]:
    return merge_ranges((timeframe.floor(start), timeframe.ceil(end)) for start, end in ranges)


def _hull(ranges: Sequence[TimeRange]) -> list[TimeRange]:
    """The range from the first to the last of them; none of none."""
    return [(ranges[0][0], ranges[-1][1])] if ranges else []


def _dropped(series: SeriesState, ranges: Sequence[TimeRange]) -> tuple[list[TimeRange], list[TimeRange]]:
    """What of the ranges retention has dropped for good, and what of them files hold."""
    time = series.dropped_before
    if time is None:
        return [], []
    dropped = [(start, min(end, time)) for start, end in ranges if start < time]
    archived = intersect_ranges(dropped, series.archived.ranges) if series.archived else []
    return subtract_ranges(dropped, archived), archived
