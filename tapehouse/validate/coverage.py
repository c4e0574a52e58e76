"""What a validated batch proves about the time line: the intervals it has an answer for.

Only this arithmetic belongs here; the ledger that keeps it is `tapehouse.store`.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.timeframe import Timeframe, from_us, to_us

Window = tuple[datetime, datetime]


def all_but(timeframe: Timeframe, opened: Sequence[datetime], start: datetime, end: datetime) -> list[Window]:
    """[start, end) without the candles that open at those ascending times within it."""
    windows: list[Window] = []
    reached = start
    for time in opened:
        if time > reached:
            windows.append((reached, time))
        reached = timeframe.close(time)
    if reached < end:
        windows.append((reached, end))
    return windows


def only(timeframe: Timeframe, opened_us: Int64Array, start: datetime, end: datetime) -> list[Window]:
    """The candles that open at those ascending times, merged, as far as they lie within [start, end)."""
    if len(opened_us) == 0:
        return []
    closed_us = _closes_us(timeframe, opened_us)
    breaks = np.flatnonzero(closed_us[:-1] != opened_us[1:])
    firsts = opened_us[np.concatenate(([0], breaks + 1))].clip(min=to_us(start))
    lasts = closed_us[np.concatenate((breaks, [len(opened_us) - 1]))].clip(max=to_us(end))
    return [(from_us(int(first)), from_us(int(last))) for first, last in zip(firsts, lasts, strict=True)]


def _closes_us(timeframe: Timeframe, opened_us: Int64Array) -> Int64Array:
    if not timeframe.is_monthly:
        return opened_us + timeframe.seconds * 1_000_000
    months = opened_us.astype("datetime64[us]").astype("datetime64[M]")
    return (months + 1).astype("datetime64[us]").astype(np.int64)
