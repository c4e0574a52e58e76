"""The rows of an understood file in batches ready for validation, in the order of time where that matters.

Trades, and the candles of a file that vouches for a time, come in windows that follow each other, so that what lies
between two rows is known to be empty. What is held for that is no more than the file is out of order by.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import BELIEVABLE_MS, VALUE_COLUMNS, Float64Array
from tapehouse.errors import InputError
from tapehouse.files import cells
from tapehouse.files.arrow import Array, Rows, Scalar, pa
from tapehouse.files.layouts import Role
from tapehouse.files.tables import BATCH_ROWS
from tapehouse.files.understanding import Understanding
from tapehouse.timeframe import to_us
from tapehouse.validate import TradeColumns

# More trades than these are not held to sort them.
_MOST_HELD: Final = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """Some rows of a file, and what of their lines are none.

    Where `until_ms` is given, all rows before it that were not in an earlier portion are in this one.
    """

    rows: Rows
    times_ms: Float64Array
    misshapen: Sequence[object]
    until_ms: float | None = None

    def take(self, lines: npt.NDArray[Any]) -> "Portion":
        """The rows at those lines, without what is none."""
        return Portion(self.rows.take(pa.array(lines)), self.times_ms[lines], ())


def portions(file: Understanding) -> Iterator[Portion]:
    """The rows in the order of the file; one portion without any of a file without rows."""
    none: Portion | None = None
    for batch in file.table.batches():
        times_ms = file.clock.read(batch.rows.column(file.layout.columns["time"]))
        if file.dataset == "trade":
            # Exchanges' APIs tell whole milliseconds, and a trade must have one time wherever it comes from.
            times_ms = np.floor(np.rint(times_ms * 1000) / 1000)
        portion = Portion(batch.rows, times_ms, [line for _, line in batch.misshapen])
        if len(times_ms) or batch.misshapen:
            yield portion
        elif not file.rows:
            none = portion
    if none is not None:
        yield none


def portions_in_order(file: Understanding) -> Iterator[Portion]:
    """The rows in the order of time, equal times in the order of the file; the last portion has no `until_ms`.

    Raises InputError where too many would have to be held.
    """
    held: Portion | None = None
    last_ms = to_us(file.last) / 1000 if file.last else float(BELIEVABLE_MS.start)
    reached_ms = float(BELIEVABLE_MS.start)
    for portion in portions(file):
        together = portion if held is None else _joined(held, portion)
        known_ms = _known(portion.times_ms, last_ms)
        reached_ms = max(reached_ms, float(np.nanmax(known_ms, initial=BELIEVABLE_MS.start)))
        until_ms: float = np.floor(reached_ms - file.disorder_ms)
        # A row that tells no time goes with those before it.
        is_ready = ~(_known(together.times_ms, last_ms) >= until_ms)
        held = together.take(np.flatnonzero(~is_ready))
        if len(held.times_ms) > _MOST_HELD:
            raise InputError(
                f"{file.path.name} is too far out of order to be sorted on the way: sort it by time first."
            )
        ready = together.take(_by_time(together.times_ms, np.flatnonzero(is_ready), last_ms))
        yield from _in_batches(ready, together.misshapen, until_ms, last_ms)
    if held is not None:
        lines = _by_time(held.times_ms, np.arange(len(held.times_ms)), last_ms)
        yield from _in_batches(held.take(lines), (), None, last_ms)


def candle_values(file: Understanding, portion: Portion) -> Float64Array:
    """A row a candle: open, high, low, close, volume."""
    return np.column_stack([cells.numbers(_column(file, portion, name)) for name in VALUE_COLUMNS])


def open_candles(file: Understanding, portion: Portion) -> npt.NDArray[np.bool_] | None:
    """Which candles the file itself says had not closed; None where it does not say of any whether they had."""
    return cells.are_false(_column(file, portion, "is_closed")) if "is_closed" in file.layout.columns else None


def trade_columns(file: Understanding, portion: Portion) -> TradeColumns:
    """The columns of trades; where a file tells no side, it is unknown."""
    columns = file.layout.columns
    if "side" in columns:
        sides = cells.sides(_column(file, portion, "side"))
    elif "is_buyer_maker" in columns:
        sides = cells.sides_of_makers(_column(file, portion, "is_buyer_maker"))
    else:
        sides = np.zeros(len(portion.times_ms))
    return TradeColumns(
        portion.times_ms,
        cells.ids(_column(file, portion, "id")),
        sides,
        cells.numbers(_column(file, portion, "price")),
        cells.numbers(_column(file, portion, "amount")),
    )


def raw_row(file: Understanding, portion: Portion, line: int) -> object:
    """The row as the file has it: by the names of its columns, or as a list where it names none."""
    cells_of_line = [_plain(column[line]) for column in portion.rows.columns]
    return dict(zip(file.table.names, cells_of_line, strict=True)) if file.table.is_named else cells_of_line


def _column(file: Understanding, portion: Portion, role: Role) -> Array:
    return portion.rows.column(file.layout.columns[role])


def _plain(scalar: Scalar) -> object:
    try:
        cell = scalar.as_py()
    except (OverflowError, ValueError):
        # A time of a year that no datetime has.
        return f"{scalar.value} as {scalar.type}"
    return cell.isoformat() if isinstance(cell, datetime | date) else cell


def _known(times_ms: Float64Array, last_ms: float) -> Float64Array:
    """The times, NaN for those that are none to believe; `last_ms` is the last that is."""
    return np.where((times_ms >= BELIEVABLE_MS.start) & (times_ms <= last_ms), times_ms, np.nan)


def _by_time(times_ms: Float64Array, lines: npt.NDArray[np.intp], last_ms: float) -> npt.NDArray[np.intp]:
    return lines[np.argsort(_known(times_ms[lines], last_ms), kind="stable")]


def _joined(first: Portion, second: Portion) -> Portion:
    rows = pa.concat_batches([first.rows, second.rows])
    return Portion(rows, np.concatenate((first.times_ms, second.times_ms)), second.misshapen)


def _in_batches(
    ready: Portion, misshapen: Sequence[object], until_ms: float | None, last_ms: float
) -> Iterator[Portion]:
    """The rows in portions of about a batch, each ending where another time begins."""
    times_ms, count = _known(ready.times_ms, last_ms), len(ready.times_ms)
    start = 0
    while count - start > BATCH_ROWS:
        # All rows of one time, and those of no time, which were sorted to the end, stay together.
        stop = int(np.searchsorted(times_ms, float(times_ms[start + BATCH_ROWS]), side="left"))
        stop = stop if stop > start else int(np.searchsorted(times_ms, float(times_ms[start]), side="right"))
        if stop >= count or np.isnan(times_ms[start + BATCH_ROWS]):
            break
        yield Portion(ready.rows.slice(start, stop - start), ready.times_ms[start:stop], (), float(times_ms[stop]))
        start = stop
    yield Portion(ready.rows.slice(start), ready.times_ms[start:], misshapen, until_ms)
