"""Splitting rows of candles into good ones and rejects, and saying what they cover.

The rules are in `schema`, the conversion in `conversion`; writing the outcome is the store's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tapehouse.candle import VALUE_COLUMNS, CandleBatch, Float64Array, Int64Array, Reject
from tapehouse.ranges import TimeRange, subtract_ranges
from tapehouse.timeframe import Timeframe, aware_range, to_us
from tapehouse.validate.conversion import believable_us, floats_of, lines_of
from tapehouse.validate.coverage import ranges_of_candles
from tapehouse.validate.rejection import NOT_A_ROW, reasons_by_line, rejects_by_line, rejects_of
from tapehouse.validate.schema import candle_schema
from tapehouse.validate.selection import last_of_each, lines_without

_WIDTH: Final = 6  # ccxt's candle: time in ms, open, high, low, close, volume
# Whoever failed one of these could be about any candle of the window.
_UNPLACEABLE: Final = frozenset((NOT_A_ROW, "time_missing", "time_not_believable", "time_not_aligned"))


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
    lines = lines_of(rows, _WIDTH, list, tuple)
    values = floats_of(list(chain.from_iterable(lines.rows))).reshape(-1, _WIDTH)
    times_us = believable_us(values[:, 0])
    reasons = reasons_by_line(candle_schema(timeframe, start, end), _frame(values, times_us))
    good = _good_candles(values, times_us, failed=reasons)
    rejected = rejects_of(lines, lines.rows, times_us, reasons)
    return CandleSplit(good, rejected, _covered(good, rejected, timeframe, start, end))


def split_candle_columns(
    times_ms: Float64Array,
    values: Float64Array,
    timeframe: Timeframe,
    *,
    start: datetime,
    end: datetime,
    raw_of: Callable[[int], object],
    is_open: npt.NDArray[np.bool_] | None = None,
) -> CandleSplit:
    """Split candles that are columns already, as `split_candles` does rows.

    `times_ms` are NaN where there is no time, `values` has a row a candle: open, high, low, close, volume.
    `raw_of` gives what to keep of a line that is rejected. `is_open` says which candles had not closed when they
    were written, where that is known.
    """
    start, end = aware_range(start, end)
    cells = np.column_stack((times_ms, values))
    times_us = believable_us(times_ms)
    frame = _frame(cells, times_us)
    if is_open is not None:
        frame["is_open"] = is_open
    reasons = reasons_by_line(candle_schema(timeframe, start, end, tells_open=is_open is not None), frame)
    good = _good_candles(cells, times_us, failed=reasons)
    rejected = rejects_by_line(raw_of, times_us, reasons)
    return CandleSplit(good, rejected, _covered(good, rejected, timeframe, start, end))


def _frame(values: Float64Array, times_us: Int64Array) -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=["time_ms", *VALUE_COLUMNS])
    frame["time"] = pd.DatetimeIndex(times_us.view("datetime64[us]"), tz="UTC")
    return frame


def _good_candles(values: Float64Array, times_us: Int64Array, *, failed: Iterable[int]) -> CandleBatch:
    lines = last_of_each(lines_without(failed, len(times_us)), times_us)
    return CandleBatch(times_us[lines], *np.ascontiguousarray(values[lines, 1:].T))


def _covered(
    good: CandleBatch, rejected: Sequence[Reject], timeframe: Timeframe, start: datetime, end: datetime
) -> list[TimeRange]:
    if not rejected:
        return [(start, end)]
    if any(not _UNPLACEABLE.isdisjoint(reject.reasons) for reject in rejected):
        return ranges_of_candles(timeframe, good.time_us, start, end)
    refused_us = {to_us(reject.time) for reject in rejected if reject.time is not None and start <= reject.time < end}
    unanswered_us = np.setdiff1d(np.array(list(refused_us), dtype=np.int64), good.time_us)
    return subtract_ranges([(start, end)], ranges_of_candles(timeframe, unanswered_us, start, end))
