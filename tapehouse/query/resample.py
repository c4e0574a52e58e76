"""Candles as columns: longer bars from shorter candles, and which bars have no candle.

Values are summed as they are stored, in whole ticks and lots, so that sums are exact. Which
bars may be built is the planner's business.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import PRICE_COLUMNS, Float64Array, Int64Array
from tapehouse.ranges import TimeRange
from tapehouse.timeframe import Timeframe, from_us, to_us

IndexArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]

_PRICES: Final = len(PRICE_COLUMNS)


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Candles as columns, sorted by open time.

    `time_us` has shape (n,): microseconds since 1970 UTC. `values` has shape (columns, n), each row
    contiguous: open, high, low and close in whole ticks, then what adds up over time: the volume in
    whole lots, and of candles built from trades their count and what takers bought and sold.
    """

    time_us: Int64Array
    values: Float64Array

    def __len__(self) -> int:
        return len(self.time_us)


def resample(candles: Candles, timeframe: Timeframe) -> Candles:
    """One candle for each bar that holds any of the candles, which are sorted by time and at most as long."""
    if len(candles) == 0:
        return candles
    opens_us = timeframe.floor_us(candles.time_us)
    firsts = np.flatnonzero(np.diff(opens_us, prepend=opens_us[0] - 1))
    lasts = np.append(firsts[1:], len(opens_us)) - 1
    open_, high, low, close = candles.values[:_PRICES]
    values = np.stack(
        [
            open_[firsts],
            np.maximum.reduceat(high, firsts),
            np.minimum.reduceat(low, firsts),
            close[lasts],
            *np.add.reduceat(candles.values[_PRICES:], firsts, axis=1),
        ]
    )
    return Candles(opens_us[firsts], values)


def bars_of_trades(time_us: Int64Array, price: Float64Array, amount: Float64Array, timeframe: Timeframe) -> Candles:
    """One candle for each bar with a trade, of trades in their order."""
    if len(time_us) == 0:
        return Candles(time_us, np.empty((_PRICES + 1, 0)))
    opens_us = timeframe.floor_us(time_us)
    firsts = np.flatnonzero(np.diff(opens_us, prepend=opens_us[0] - 1))
    lasts = np.append(firsts[1:], len(opens_us)) - 1
    values = np.stack(
        [
            price[firsts],
            np.maximum.reduceat(price, firsts),
            np.minimum.reduceat(price, firsts),
            price[lasts],
            np.add.reduceat(amount, firsts),
        ]
    )
    return Candles(opens_us[firsts], values)


def keep_ranges(candles: Candles, ranges: Sequence[TimeRange]) -> Candles:
    """The candles that open in one of the ranges, which are disjoint and sorted."""
    inside = lies_in(candles.time_us, ranges)
    return candles if inside.all() else Candles(candles.time_us[inside], candles.values[:, inside])


def lies_in(time_us: Int64Array, ranges: Sequence[TimeRange]) -> BoolArray:
    """Which of the times lie in one of the ranges, which are disjoint and sorted."""
    if not ranges:
        return np.zeros(len(time_us), dtype=np.bool_)
    starts = np.array([to_us(start) for start, _ in ranges], dtype=np.int64)
    ends = np.array([to_us(end) for _, end in ranges], dtype=np.int64)
    nearest = np.searchsorted(starts, time_us, side="right") - 1
    return (nearest >= 0) & (time_us < ends[nearest])


def merge_candles(parts: Sequence[Candles]) -> Candles:
    """The candles of all parts, sorted by open time."""
    if len(parts) == 1:
        return parts[0]
    time_us = np.concatenate([part.time_us for part in parts])
    values = np.concatenate([part.values for part in parts], axis=1)
    order = np.argsort(time_us, kind="stable")
    return Candles(time_us[order], values[:, order])


def count_rows(time_us: Int64Array, ranges: Sequence[TimeRange]) -> int:
    """How many of the sorted times lie in the ranges."""
    firsts, stops = _positions(time_us, ranges)
    return int((stops - firsts).sum())


def bars_without_row(
    timeframe: Timeframe, time_us: Int64Array, ranges: Sequence[TimeRange], *, at_most: int
) -> list[TimeRange]:
    """The first runs of bars in the ranges whose open time is not among the sorted times."""
    runs: list[TimeRange] = []
    for (start, end), first, stop in zip(ranges, *_positions(time_us, ranges), strict=True):
        if len(runs) == at_most:
            break
        if stop - first == timeframe.count(start, end):
            continue
        due_us = np.append(to_us(start), timeframe.close_us(time_us[first:stop]))
        next_us = np.append(time_us[first:stop], to_us(end))
        holes = np.flatnonzero(due_us < next_us)[: at_most - len(runs)]
        runs.extend((from_us(int(due_us[hole])), from_us(int(next_us[hole]))) for hole in holes)
    return runs


def _positions(time_us: Int64Array, ranges: Sequence[TimeRange]) -> tuple[IndexArray, IndexArray]:
    """Where the sorted times of each range begin and stop."""
    return (
        np.searchsorted(time_us, np.array([to_us(start) for start, _ in ranges], dtype=np.int64)),
        np.searchsorted(time_us, np.array([to_us(end) for _, end in ranges], dtype=np.int64)),
    )
