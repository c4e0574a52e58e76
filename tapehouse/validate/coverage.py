"""What a validated batch proves about the time line: the intervals it has an answer for, and the holes in it.

Only this arithmetic belongs here; the ledger that keeps it is `tapehouse.store`.
"""

from datetime import datetime

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.ranges import TimeRange, subtract_ranges
from tapehouse.timeframe import Timeframe, from_us, to_us
from tapehouse.trade import TRADE_SPAN_US


def ranges_of_candles(timeframe: Timeframe, opens_us: Int64Array, start: datetime, end: datetime) -> list[TimeRange]:
    """The candles that open at those ascending times, merged, as far as they lie within [start, end)."""
    if len(opens_us) == 0:
        return []
    closes_us = timeframe.close_us(opens_us)
    breaks = np.flatnonzero(closes_us[:-1] != opens_us[1:])
    starts_us = opens_us[np.concatenate(([0], breaks + 1))].clip(min=to_us(start))
    ends_us = closes_us[np.concatenate((breaks, [len(opens_us) - 1]))].clip(max=to_us(end))
    return [(from_us(int(start_us)), from_us(int(end_us))) for start_us, end_us in zip(starts_us, ends_us, strict=True)]


def ranges_without_trades(
    lost_us: Int64Array, lost_between: list[TimeRange], start: datetime, end: datetime
) -> list[TimeRange]:
    """[start, end) without the milliseconds of the trades lost at those times, and without `lost_between`."""
    milliseconds = _milliseconds(lost_us, lost_us)
    return subtract_ranges([(start, end)], [*milliseconds, *lost_between])


def ranges_of_unplaced(
    positions: Int64Array, good_positions: Int64Array, good_us: Int64Array, start: datetime, end: datetime
) -> list[TimeRange]:
    """Where trades may belong that tell no time: from the good one received before to the one after.

    `positions` says where they stood among all rows, `good_positions`, ascending, where the good ones did. That
    says something only if the good ones came sorted by time, either way; else it may be all of [start, end).
    """
    if len(positions) == 0:
        return []
    steps_us = np.diff(good_us)
    rises, falls = bool((steps_us >= 0).all()), bool((steps_us <= 0).all())
    if rises == falls:
        return [(start, end)]
    bounds_us = np.array([to_us(start), to_us(end)])
    edges_us = np.concatenate(
        (bounds_us[:1], good_us, bounds_us[1:]) if rises else (bounds_us[1:], good_us, bounds_us[:1])
    )
    behind = np.unique(np.searchsorted(good_positions, positions))
    pairs_us = np.sort(np.stack((edges_us[behind], edges_us[behind + 1])), axis=0)
    return _milliseconds(*pairs_us)


def _milliseconds(first_us: Int64Array, last_us: Int64Array) -> list[TimeRange]:
    """From the whole millisecond of each first time to the end of that of the last."""
    starts_us = first_us // TRADE_SPAN_US * TRADE_SPAN_US
    ends_us = last_us // TRADE_SPAN_US * TRADE_SPAN_US + TRADE_SPAN_US
    return [(from_us(int(start_us)), from_us(int(end_us))) for start_us, end_us in zip(starts_us, ends_us, strict=True)]
