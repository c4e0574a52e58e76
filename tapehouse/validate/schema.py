"""The pandera schema of a batch of candles: every rule with the name that quarantine shows.

Only the rules belong here; converting rows and acting on the outcome do not.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from tapehouse.candle import PRICE_COLUMNS, VALUE_COLUMNS, Float64Array, Int64Array
from tapehouse.timeframe import Timeframe, to_us

_Mask = npt.NDArray[np.bool_]
_Rule = Callable[[pd.DataFrame], npt.ArrayLike]

_COLUMNS: Final = {
    "time_ms": pa.Column("float64", nullable=True),
    **{name: pa.Column("float64", nullable=True) for name in VALUE_COLUMNS},
    "time": pa.Column("datetime64[us, UTC]", nullable=True),
}


def candle_schema(timeframe: Timeframe, start: datetime, end: datetime) -> pa.DataFrameSchema:
    """The schema of frames with `time_ms` as received, `time` (UTC, NaT if not believable) and the values.

    Each check looks at all rows at once: pandera's cost is by the check, not by the row. A
    check passes where what it needs is missing, so that a fault is named once.
    """
    rules: dict[str, _Rule] = {
        "time_missing": lambda frame: frame["time_ms"].notna().to_numpy(),
        "time_not_believable": lambda frame: _known(frame) | frame["time_ms"].isna().to_numpy(),
        "time_not_aligned": lambda frame: _is_aligned(frame, timeframe),
        "time_outside_window": lambda frame: _is_inside(frame, to_us(start), to_us(end)),
        "price_not_finite": lambda frame: _all_finite(_prices(frame)),
        "price_not_positive": lambda frame: ~(_prices(frame) <= 0).any(axis=1),
        "high_below_open_close_low": lambda frame: _high_is_highest(_prices(frame)),
        "low_above_open_close_high": lambda frame: _low_is_lowest(_prices(frame)),
        "volume_not_finite": lambda frame: np.isfinite(frame["volume"].to_numpy()),
        "volume_negative": lambda frame: ~(frame["volume"].to_numpy() < 0),
    }
    return pa.DataFrameSchema(_COLUMNS, checks=[_check(name, rule) for name, rule in rules.items()])


def _check(name: str, rule: _Rule) -> pa.Check:
    def passes(frame: pd.DataFrame) -> pd.Series:
        return pd.Series(np.asarray(rule(frame), dtype=np.bool_), index=frame.index)

    # By default pandera keeps rows with any NaN away from the check: they would pass.
    return pa.Check(passes, name=name, ignore_na=False)


def _known(frame: pd.DataFrame) -> _Mask:
    return frame["time"].notna().to_numpy()


def _times_us(frame: pd.DataFrame) -> Int64Array:
    return frame["time"].to_numpy("datetime64[us]").view(np.int64)


def _is_aligned(frame: pd.DataFrame, timeframe: Timeframe) -> _Mask:
    times_ms = frame["time_ms"].to_numpy()
    whole_ms = np.floor(times_ms) == times_ms
    return ~_known(frame) | (whole_ms & timeframe.aligned(_times_us(frame)))


def _is_inside(frame: pd.DataFrame, start_us: int, end_us: int) -> _Mask:
    times_us = _times_us(frame)
    return ~_known(frame) | ((times_us >= start_us) & (times_us < end_us))


def _prices(frame: pd.DataFrame) -> Float64Array:
    # The slice is a view, a list of columns would be a copy for each of the checks.
    return frame.loc[:, PRICE_COLUMNS[0] : PRICE_COLUMNS[-1]].to_numpy()


def _high_is_highest(prices: Float64Array) -> _Mask:
    high = prices[:, PRICE_COLUMNS.index("high")]
    return ~_all_finite(prices) | (high >= prices.max(axis=1))


def _low_is_lowest(prices: Float64Array) -> _Mask:
    low = prices[:, PRICE_COLUMNS.index("low")]
    return ~_all_finite(prices) | (low <= prices.min(axis=1))


def _all_finite(prices: Float64Array) -> _Mask:
    return np.asarray(np.isfinite(prices).all(axis=1), dtype=np.bool_)
