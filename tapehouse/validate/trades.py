"""Splitting rows of trades into good ones and rejects, and saying what they cover.

The rules are in `schema`, the conversion in `conversion` and `ids`; writing the outcome is the store's.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import nan
from typing import Final

import numpy as np
import pandas as pd

from tapehouse.candle import Float64Array, Int64Array, Reject
from tapehouse.ranges import TimeRange
from tapehouse.timeframe import aware_range
from tapehouse.trade import BOUGHT, SOLD, UNKNOWN_SIDE, TradeBatch
from tapehouse.validate.conversion import NOT_A_TIME, Lines, believable_us, floats_of, lines_of
from tapehouse.validate.coverage import ranges_of_unplaced, ranges_without_trades
from tapehouse.validate.ids import Ids, ids_of
from tapehouse.validate.rejection import reasons_by_line, rejects_by_line, rejects_of
from tapehouse.validate.schema import trade_schema
from tapehouse.validate.selection import LineNumbers, last_of_each, lines_without

_WIDTH: Final = 6  # time in ms, id, side, price, amount, the row as the exchange sent it
_SIDES: Final = {"buy": BOUGHT, "sell": SOLD, None: UNKNOWN_SIDE}


@dataclass(frozen=True, slots=True, eq=False)
class TradeColumns:
    """The cells of trades by column, each NaN where it is none; `sides` are those of `tapehouse.trade`."""

    times_ms: Float64Array
    ids: Ids
    sides: Float64Array
    prices: Float64Array
    amounts: Float64Array

    @property
    def times_us(self) -> Int64Array:
        """The times in microseconds, NOT_A_TIME where there is none to believe."""
        return believable_us(self.times_ms)


@dataclass(frozen=True, slots=True, eq=False)
class TradeSplit:
    """The outcome of validating the rows of one window.

    `covered` are merged half-open windows in UTC for which the rows are an answer: trades or known
    emptiness. The millisecond of a trade that was rejected is left out, to be asked for again, unless a
    good row has its id; where a rejected row tells no time, all that may hold it is left out.
    """

    good: TradeBatch
    rejected: tuple[Reject, ...]
    covered: list[TimeRange]


def split_trades(rows: Sequence[object], *, start: datetime, end: datetime) -> TradeSplit:
    """Split rows `(time_ms, id, side, price, amount, info)`, in the order received, asked for in [start, end).

    The last good row of a time and id wins. Rows that are no such tuples, and cells, may be any JSON. Of a
    rejected row its `info` is kept. Raises NaiveDatetime or ReversedRange for bad bounds, never for bad rows.
    """
    start, end = aware_range(start, end)
    lines = lines_of(rows, _WIDTH, tuple)
    columns, raws = _columns(lines)
    reasons = reasons_by_line(trade_schema(start, end), _frame(columns))
    passed = lines_without(reasons, len(lines.rows))
    rejected = rejects_of(lines, raws, columns.times_us, reasons)
    covered = [(start, end)]
    if rejected:
        covered = _covered(lines, columns, passed, list(reasons), start, end)
    return TradeSplit(_good_trades(columns, passed), rejected, covered)


def split_trade_columns(
    columns: TradeColumns, *, start: datetime, end: datetime, raw_of: Callable[[int], object]
) -> TradeSplit:
    """Split trades that are columns already, as `split_trades` does rows.

    `raw_of` gives what to keep of a line that is rejected.
    """
    start, end = aware_range(start, end)
    reasons = reasons_by_line(trade_schema(start, end), _frame(columns))
    passed = lines_without(reasons, len(columns.times_ms))
    rejected = rejects_by_line(raw_of, columns.times_us, reasons)
    covered = [(start, end)]
    if rejected:
        positions = np.arange(len(columns.times_ms))
        covered = _covered(Lines((), positions, {}), columns, passed, list(reasons), start, end)
    return TradeSplit(_good_trades(columns, passed), rejected, covered)


def _columns(lines: Lines) -> tuple[TradeColumns, Sequence[object]]:
    """The lines as columns, and what to keep of each."""
    times, ids, sides, prices, amounts, raws = zip(*lines.rows, strict=True) if lines.rows else [()] * _WIDTH
    return TradeColumns(floats_of(times), ids_of(ids), _sides_of(sides), floats_of(prices), floats_of(amounts)), raws


def _sides_of(cells: Sequence[object]) -> Float64Array:
    sides = [_SIDES.get(cell, nan) if cell is None or isinstance(cell, str) else nan for cell in cells]
    return np.array(sides, dtype=np.float64)


def _frame(columns: TradeColumns) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "time_ms": columns.times_ms,
            "time": pd.DatetimeIndex(columns.times_us.view("datetime64[us]"), tz="UTC"),
            "id_is_missing": columns.ids.is_missing,
            "id_is_storable": columns.ids.is_storable,
            "price": columns.prices,
            "amount": columns.amounts,
            "side": columns.sides,
        }
    )


def _good_trades(columns: TradeColumns, passed: LineNumbers) -> TradeBatch:
    lines = last_of_each(passed, columns.times_us, columns.ids.number, columns.ids.text)
    return TradeBatch(
        time_us=columns.times_us[lines],
        trade_id=columns.ids.number[lines],
        id_text=columns.ids.text[lines],
        price=columns.prices[lines],
        amount=columns.amounts[lines],
        side=columns.sides[lines].astype(np.int16),
    )


def _covered(
    lines: Lines, columns: TradeColumns, passed: LineNumbers, failed: Sequence[int], start: datetime, end: datetime
) -> list[TimeRange]:
    lost = _without_ids_among(columns.ids, passed, failed)
    lost_us = columns.times_us[lost]
    is_placed = lost_us != NOT_A_TIME
    unplaced = np.concatenate((lines.positions[lost[~is_placed]], np.array(list(lines.misshapen), dtype=np.int64)))
    lost_between = ranges_of_unplaced(unplaced, lines.positions[passed], columns.times_us[passed], start, end)
    return ranges_without_trades(lost_us[is_placed], lost_between, start, end)


def _without_ids_among(ids: Ids, passed: LineNumbers, failed: Iterable[int]) -> LineNumbers:
    """The failed lines whose id none of those that passed has."""
    known = set(zip(ids.number[passed].tolist(), ids.text[passed].tolist(), strict=True))
    has_id = ids.is_storable & ~ids.is_missing
    lost = [line for line in failed if not has_id[line] or (int(ids.number[line]), str(ids.text[line])) not in known]
    return np.array(lost, dtype=np.intp)
