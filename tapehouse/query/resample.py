"""Longer bars from shorter candles, and which bars have no candle: numpy arithmetic on open times.

Values are summed as they are stored, in whole ticks and lots, so that sums are exact. Which
bars may be built is the planner's business.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Int64Array
from tapehouse.query.decode import Candles
from tapehouse.ranges import TimeRange
from tapehouse.timeframe import Timeframe, from_us, to_us

IndexArray = npt.NDArray[np.intp]


def resample(candles: Candles, timeframe: Timeframe) -> Candles:
    """One candle for each bar that holds any of the candles, which are sorted by time and at most as long."""
    if len(candles) == 0:
        return candles
    opens_us = timeframe.floor_us(candles.time_us)
    firsts = np.flatnonzero(np.diff(opens_us, prepend=opens_us[0] - 1))
    lasts = np.append(firsts[1:], len(opens_us)) - 1
    open_, high, low, close, volume = candles.values
    values = np.stack(
        [
            open_[firsts],
            np.maximum.reduceat(high, firsts),
            np.minimum.reduceat(low, firsts),
            close[lasts],
            np.add.reduceat(volume, firsts),
        ]
    )
    return Candles(opens_us[firsts], values)


def keep_ranges(candles: Candles, ranges: Sequence[TimeRange]) -> Candles:
    """The candles that open in one of the ranges, which are disjoint and sorted."""
    starts = np.array([to_us(start) for start, _ in ranges], dtype=np.int64)
    ends = np.array([to_us(end) for _, end in ranges], dtype=np.int64)
    nearest = np.searchsorted(starts, candles.time_us, side="right") - 1
    inside = (nearest >= 0) & (candles.time_us < ends[nearest])
    return candles if inside.all() else Candles(candles.time_us[inside], candles.values[:, inside])


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
