"""What a validated batch proves about the time line: the intervals it has an answer for.

Only this arithmetic belongs here; the ledger that keeps it is `tapehouse.store`.
"""

from datetime import datetime

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.ranges import TimeRange
from tapehouse.timeframe import Timeframe, from_us, to_us


def ranges_of_candles(timeframe: Timeframe, opens_us: Int64Array, start: datetime, end: datetime) -> list[TimeRange]:
    """The candles that open at those ascending times, merged, as far as they lie within [start, end)."""
    if len(opens_us) == 0:
        return []
    closes_us = timeframe.close_us(opens_us)
    breaks = np.flatnonzero(closes_us[:-1] != opens_us[1:])
    starts_us = opens_us[np.concatenate(([0], breaks + 1))].clip(min=to_us(start))
    ends_us = closes_us[np.concatenate((breaks, [len(opens_us) - 1]))].clip(max=to_us(end))
    return [(from_us(int(start_us)), from_us(int(end_us))) for start_us, end_us in zip(starts_us, ends_us, strict=True)]
