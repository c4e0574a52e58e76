"""Filled bars: rows made up at reading for bars without a candle, where someone needs a row a bar.

They repeat the close before them and are never stored. Which bars are known is the planner's business.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Literal

import numpy as np

from tapehouse.candle import PRICE_COLUMNS
from tapehouse.query.resample import BoolArray, Candles
from tapehouse.ranges import TimeRange, intersect_ranges
from tapehouse.timeframe import Timeframe, from_us, to_us

Fill = Literal["empty", "all"]

_CLOSE: Final = PRICE_COLUMNS.index("close")
# How far back a close is looked for at first, and how much further each time in vain.
_FIRST_BARS: Final = 1000
_FURTHER: Final = 8


def fill_bars(
    candles: Candles, timeframe: Timeframe, ranges: Sequence[TimeRange], *, close_before: Callable[[], float | None]
) -> tuple[Candles, BoolArray]:
    """The candles and a row for each bar of the ranges that has none, and which rows are such.

    All four prices of a filled bar are the last close before it, what adds up over time is 0. `close_before`
    gives the last close before the ranges, and is only asked where it is needed; None leaves the bars before the
    first candle out. The ranges begin and end with a bar, and are disjoint and sorted.
    """
    first_us = int(candles.time_us[0]) if len(candles) else None
    close = close_before() if ranges and (first_us is None or to_us(ranges[0][0]) < first_us) else None
    if close is None and ranges:
        # Such bars may be many more than there are candles.
        ranges = [] if first_us is None else intersect_ranges(ranges, [(from_us(first_us), ranges[-1][1])])
    filled_us = _opens_without_row(candles, timeframe, ranges)
    closes = np.append(np.nan if close is None else close, candles.values[_CLOSE])
    values = np.zeros((len(candles.values), len(filled_us)))
    values[: len(PRICE_COLUMNS)] = closes[np.searchsorted(candles.time_us, filled_us)]
    time_us = np.concatenate([candles.time_us, filled_us])
    order = np.argsort(time_us, kind="stable")
    merged = Candles(time_us[order], np.concatenate([candles.values, values], axis=1)[:, order])
    return merged, order >= len(candles)


def last_close(
    read: Callable[[TimeRange], Candles], timeframe: Timeframe, known: Sequence[TimeRange], before: datetime
) -> tuple[int, float] | None:
    """The last candle of the known bars that opens before that open time: when it opens, in us, and its close.

    None if there is none. `read` gives the candles of a window; it is asked for ever longer ones, the last first.
    """
    bars, end = _FIRST_BARS, min(before, known[-1][1]) if known else before
    while known and known[0][0] < end:
        start = timeframe.shift(end, -min(bars, timeframe.count(known[0][0], end)))
        candles = read((start, end))
        if len(candles):
            return int(candles.time_us[-1]), float(candles.values[_CLOSE, -1])
        bars, end = bars * _FURTHER, start
    return None


def _opens_without_row(candles: Candles, timeframe: Timeframe, ranges: Sequence[TimeRange]) -> np.ndarray:
    opens = [timeframe.opens_us(*one) for one in ranges]
    opens_us = np.concatenate(opens) if opens else np.empty(0, dtype=np.int64)
    return opens_us[~np.isin(opens_us, candles.time_us, assume_unique=True)]
