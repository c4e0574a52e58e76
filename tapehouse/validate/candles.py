"""Splitting rows of candles into good ones and rejects, and saying what they cover.

The rules are in `schema`, the conversion in `conversion`; writing the outcome is the store's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandera.errors import SchemaErrors

from tapehouse.candle import BELIEVABLE_MS, VALUE_COLUMNS, CandleBatch, Float64Array, Int64Array, Reject
from tapehouse.ranges import TimeRange, subtract_ranges
from tapehouse.timeframe import Timeframe, aware_range, from_us, to_us
from tapehouse.validate.conversion import Columns, columns_of, storable
from tapehouse.validate.coverage import ranges_of_candles
from tapehouse.validate.schema import candle_schema

_NOT_A_TIME: Final = np.iinfo(np.int64).min  # numpy's NaT
_NOT_A_ROW: Final = "not_a_row"
# Whoever failed one of these could be about any candle of the window.
_UNPLACEABLE: Final = frozenset((_NOT_A_ROW, "time_missing", "time_not_believable", "time_not_aligned"))


@dataclass(frozen=True, slots=True, eq=False)
class CandleSplit:
    """The outcome of validating the rows of one window.

    `covered` are merged half-open windows in UTC for which the rows are an answer: candles or
    known emptiness. An interval whose only row was rejected is left out, to be asked for again;
    where a rejected row tells no place, only the good rows' intervals are covered.
    """

    good: CandleBatch
    rejected: tuple[Reject, ...]
    covered: list[TimeRange]


def split_candles(rows: Sequence[object], timeframe: Timeframe, *, start: datetime, end: datetime) -> CandleSplit:
    """Split rows `[ms, open, high, low, close, volume]`, in the order received, asked for in [start, end).

    The last good row of a time wins. Rows may be any JSON. Raises NaiveDatetime or
    ReversedRange for bad bounds, never for bad rows.
    """
    start, end = aware_range(start, end)
    columns = columns_of(rows)
    times_us = _believable_us(columns.values[:, 0])
    reasons = _reasons_by_line(columns, times_us, timeframe, start, end)
    good = _good_lines(columns, times_us, failed=list(reasons))
    rejected = _rejects(rows, columns, times_us, reasons)
    return CandleSplit(good, rejected, _covered(good, rejected, timeframe, start, end))


def _believable_us(times_ms: Float64Array) -> Int64Array:
    believable = (times_ms >= BELIEVABLE_MS.start) & (times_ms < BELIEVABLE_MS.stop)
    times_us = np.full(len(times_ms), _NOT_A_TIME, dtype=np.int64)
    times_us[believable] = np.rint(times_ms[believable] * 1000)
    return times_us


def _reasons_by_line(
    columns: Columns, times_us: Int64Array, timeframe: Timeframe, start: datetime, end: datetime
) -> dict[int, list[str]]:
    """The names of the checks failed, for each line of `columns` that failed any."""
    frame = pd.DataFrame(columns.values, columns=["time_ms", *VALUE_COLUMNS])
    frame["time"] = pd.DatetimeIndex(times_us.view("datetime64[us]"), tz="UTC")
    reasons: dict[int, list[str]] = {}
    try:
        candle_schema(timeframe, start, end).validate(frame, lazy=True, inplace=True)
    except SchemaErrors as errors:
        failures = cast("pd.DataFrame", errors.failure_cases)
        # A check of whole rows is reported once for each of their columns.
        once = failures[["check_number", "check", "index"]].drop_duplicates()
        for name, line in zip(once["check"], once["index"], strict=True):
            reasons.setdefault(int(line), []).append(str(name))
    return reasons


def _good_lines(columns: Columns, times_us: Int64Array, failed: list[int]) -> CandleBatch:
    passed = np.ones(len(times_us), dtype=np.bool_)
    passed[failed] = False
    lines = _last_of_each_time(times_us, np.flatnonzero(passed))
    return CandleBatch(times_us[lines], *np.ascontiguousarray(columns.values[lines, 1:].T))


def _last_of_each_time(times_us: Int64Array, lines: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    lines = lines[np.argsort(times_us[lines], kind="stable")]
    is_last = np.append(np.diff(times_us[lines]) != 0, [True])[: len(lines)]
    return lines[is_last]


def _rejects(
    rows: Sequence[object], columns: Columns, times_us: Int64Array, reasons: dict[int, list[str]]
) -> tuple[Reject, ...]:
    rejects = {position: Reject(None, (_NOT_A_ROW,), storable(rows[position])) for position in columns.misshapen}
    for line, names in reasons.items():
        position, time_us = int(columns.positions[line]), int(times_us[line])
        time = None if time_us == _NOT_A_TIME else from_us(time_us)
        rejects[position] = Reject(time, tuple(names), storable(rows[position]))
    return tuple(rejects[position] for position in sorted(rejects))


def _covered(
    good: CandleBatch, rejected: Sequence[Reject], timeframe: Timeframe, start: datetime, end: datetime
) -> list[TimeRange]:
    if any(not _UNPLACEABLE.isdisjoint(reject.reasons) for reject in rejected):
        return ranges_of_candles(timeframe, good.time_us, start, end)
    refused_us = {to_us(reject.time) for reject in rejected if reject.time is not None and start <= reject.time < end}
    unanswered_us = np.setdiff1d(np.array(list(refused_us), dtype=np.int64), good.time_us)
    return subtract_ranges([(start, end)], ranges_of_candles(timeframe, unanswered_us, start, end))
