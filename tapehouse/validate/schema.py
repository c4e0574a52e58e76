"""The pandera schemas of candles, trades and order books: every rule with the name that quarantine shows.

Only the rules belong here; converting rows and acting on the outcome do not. Each check looks at
all rows at once: pandera's cost is by the check, not by the row. A check passes where what it
needs is missing, so that a fault is named once.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.pandas as pa

from tapehouse.candle import PRICE_COLUMNS, VALUE_COLUMNS, Float64Array, Int64Array
from tapehouse.timeframe import Timeframe, to_us

# What can be wrong with levels of a book; a frame of books has a column for each with how many are so.
LEVEL_FAULTS: Final = (
    "level_not_a_pair",
    "price_not_finite",
    "price_not_positive",
    "amount_not_finite",
    "amount_not_positive",
    "bids_not_descending",
    "asks_not_ascending",
)

# Exchanges tell when a book last changed, which on a quiet market may be long ago.
_OLDEST_BOOK_S: Final = 86_400
_MOST_AHEAD_S: Final = 60

_Mask = npt.NDArray[np.bool_]
_Rule = Callable[[pd.DataFrame], npt.ArrayLike]

_FLOAT: Final = pa.Column("float64", nullable=True)
_TIMES: Final = {"time_ms": _FLOAT, "time": pa.Column("datetime64[us, UTC]", nullable=True)}
_CANDLE_COLUMNS: Final = {**_TIMES, **dict.fromkeys(VALUE_COLUMNS, _FLOAT)}
_TRADE_COLUMNS: Final = {
    **_TIMES,
    **dict.fromkeys(("id_is_missing", "id_is_storable"), pa.Column("bool")),
    **dict.fromkeys(("price", "amount", "side"), _FLOAT),
}
_BOOK_COLUMNS: Final = {
    **_TIMES,
    **dict.fromkeys(("bid_count", "ask_count", *LEVEL_FAULTS), pa.Column("int64")),
    **dict.fromkeys(("ahead_s", "best_bid", "best_ask"), _FLOAT),
}


def candle_schema(
    timeframe: Timeframe, start: datetime, end: datetime, *, tells_open: bool = False
) -> pa.DataFrameSchema:
    """The schema of frames with `time_ms` as received, `time` (UTC, NaT if not believable) and the values.

    Where the source tells which candles had not closed yet, `is_open` has that.
    """
    rules: dict[str, _Rule] = {
        "time_missing": _has_time,
        "time_not_believable": _is_believable,
        "time_not_aligned": lambda frame: _is_aligned(frame, timeframe),
        "time_outside_window": lambda frame: _is_inside(frame, to_us(start), to_us(end)),
        "price_not_finite": lambda frame: _all_finite(_prices(frame)),
        "price_not_positive": lambda frame: ~(_prices(frame) <= 0).any(axis=0),
        "high_below_open_close_low": lambda frame: _high_is_highest(_prices(frame)),
        "low_above_open_close_high": lambda frame: _low_is_lowest(_prices(frame)),
        "volume_not_finite": lambda frame: np.isfinite(frame["volume"].to_numpy()),
        "volume_negative": lambda frame: ~(frame["volume"].to_numpy() < 0),
    }
    if not tells_open:
        return _schema(_CANDLE_COLUMNS, rules)
    rules["candle_not_closed"] = lambda frame: ~frame["is_open"].to_numpy()
    return _schema({**_CANDLE_COLUMNS, "is_open": pa.Column("bool")}, rules)


def trade_schema(start: datetime, end: datetime) -> pa.DataFrameSchema:
    """The schema of frames with times as those of candles, what is known of ids, and price, amount and side."""
    rules: dict[str, _Rule] = {
        "time_missing": _has_time,
        "time_not_believable": _is_believable,
        "time_outside_window": lambda frame: _is_inside(frame, to_us(start), to_us(end)),
        "id_missing": lambda frame: ~frame["id_is_missing"].to_numpy(),
        "id_not_storable": lambda frame: frame["id_is_storable"].to_numpy(),
        "price_not_finite": lambda frame: np.isfinite(frame["price"].to_numpy()),
        "price_not_positive": lambda frame: ~(frame["price"].to_numpy() <= 0),
        "amount_not_finite": lambda frame: np.isfinite(frame["amount"].to_numpy()),
        "amount_not_positive": lambda frame: ~(frame["amount"].to_numpy() <= 0),
        "side_not_buy_or_sell": lambda frame: frame["side"].notna().to_numpy(),
    }
    return _schema(_TRADE_COLUMNS, rules)


def book_schema() -> pa.DataFrameSchema:
    """The schema of frames of order books.

    Times are as those of candles, `ahead_s` is how far they are ahead of the exchange's clock; then come the
    levels a side, their faults, and the best prices.
    """
    rules: dict[str, _Rule] = {
        "time_not_believable": lambda frame: _is_known(frame),
        "time_far_from_clock": _is_near_clock,
        "bids_missing": lambda frame: frame["bid_count"].to_numpy() > 0,
        "asks_missing": lambda frame: frame["ask_count"].to_numpy() > 0,
        **{fault: partial(_has_no_level, fault=fault) for fault in LEVEL_FAULTS},
        "crossed": lambda frame: ~(frame["best_bid"].to_numpy() >= frame["best_ask"].to_numpy()),
    }
    return _schema(_BOOK_COLUMNS, rules)


def _schema(columns: Mapping[str, pa.Column], rules: Mapping[str, _Rule]) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(dict(columns), checks=[_check(name, rule) for name, rule in rules.items()])


def _check(name: str, rule: _Rule) -> pa.Check:
    def passes(frame: pd.DataFrame) -> pd.Series | bool:
        passed = np.asarray(rule(frame), dtype=np.bool_)
        # Where all rows pass there is nothing to pair with them, and pandera takes the one word for it.
        return True if passed.all() else pd.Series(passed, index=frame.index)

    # By default pandera keeps rows with any NaN away from the check: they would pass.
    return pa.Check(passes, name=name, ignore_na=False)


def _has_time(frame: pd.DataFrame) -> _Mask:
    return ~np.isnan(frame["time_ms"].to_numpy())


def _is_known(frame: pd.DataFrame) -> _Mask:
    return ~np.isnat(frame["time"].to_numpy("datetime64[us]"))


def _is_believable(frame: pd.DataFrame) -> _Mask:
    return _is_known(frame) | ~_has_time(frame)


def _times_us(frame: pd.DataFrame) -> Int64Array:
    return frame["time"].to_numpy("datetime64[us]").view(np.int64)


def _is_near_clock(frame: pd.DataFrame) -> _Mask:
    ahead_s = frame["ahead_s"].to_numpy()
    return ~_is_known(frame) | ((ahead_s >= -_OLDEST_BOOK_S) & (ahead_s <= _MOST_AHEAD_S))


def _is_aligned(frame: pd.DataFrame, timeframe: Timeframe) -> _Mask:
    times_ms = frame["time_ms"].to_numpy()
    whole_ms = np.floor(times_ms) == times_ms
    return ~_is_known(frame) | (whole_ms & timeframe.aligned(_times_us(frame)))


def _is_inside(frame: pd.DataFrame, start_us: int, end_us: int) -> _Mask:
    times_us = _times_us(frame)
    return ~_is_known(frame) | ((times_us >= start_us) & (times_us < end_us))


def _prices(frame: pd.DataFrame) -> Float64Array:
    """A row a column of prices: pandas' own slice of the frame takes three times as long as this copy."""
    return np.array([frame[name].to_numpy() for name in PRICE_COLUMNS])


def _high_is_highest(prices: Float64Array) -> _Mask:
    high = prices[PRICE_COLUMNS.index("high")]
    return ~_all_finite(prices) | (high >= prices.max(axis=0))


def _low_is_lowest(prices: Float64Array) -> _Mask:
    low = prices[PRICE_COLUMNS.index("low")]
    return ~_all_finite(prices) | (low <= prices.min(axis=0))


def _all_finite(prices: Float64Array) -> _Mask:
    return np.asarray(np.isfinite(prices).all(axis=0), dtype=np.bool_)


def _has_no_level(frame: pd.DataFrame, *, fault: str) -> _Mask:
    return frame[fault].to_numpy() == 0
