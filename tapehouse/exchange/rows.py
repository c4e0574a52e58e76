"""Rows of candles and trades: when they say they are from and which ids they have, whatever their cells hold.

What a row without a believable time or id means is up to the walks that read it here.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from math import floor, isfinite
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from tapehouse.candle import BELIEVABLE_MS, Int64Array

# Not believable, see BELIEVABLE_MS.
NO_TIME: Final = -1
NO_ID: Final = -1
# Two rows that tell a wrong time can't make a walk believe that it is further on than it is.
ROWS_THAT_TELL: Final = 3
_TOO_LARGE: Final = 2**63
_MOST_DIGITS: Final = 19


def trade_row(trade: Mapping[str, object]) -> tuple[object, ...]:
    """The row (ms, id, side, price, amount, the trade as received) of a trade as ccxt describes it."""
    read = trade.get
    return read("timestamp"), read("id"), read("side"), read("price"), read("amount"), read("info")


def time_of(row: object) -> int | None:
    """The time of a row in milliseconds, None where it has none that a candle or a trade could have."""
    if not isinstance(row, list | tuple) or not row:
        return None
    cell = cast("Sequence[object]", row)[0]
    time_ms = cell if isinstance(cell, int) and not isinstance(cell, bool) else _floored(cell)
    # A range looks for anything but an int one by one.
    return time_ms if time_ms is not None and time_ms in BELIEVABLE_MS else None


def times_of(rows: Sequence[object]) -> Int64Array:
    """The time of each row in milliseconds, NO_TIME where it has none."""
    quick = _plain_times(rows)
    if quick is not None:
        return quick
    times_ms = (time_of(row) for row in rows)
    return np.array([NO_TIME if time_ms is None else time_ms for time_ms in times_ms], dtype=np.int64)


def ids_of(rows: Sequence[object]) -> Int64Array:
    """The id of each trade `(time_ms, id, ...)` where it is a whole number below 2^63, else NO_ID."""
    quick = _plain_ids(rows)
    return np.array([_id_of(row) for row in rows], dtype=np.int64) if quick is None else quick


def told_by_id(rows: Sequence[object]) -> tuple[Int64Array, Int64Array]:
    """The ids of the trades that have one and a believable time, in order, and these times."""
    ids, times_ms = ids_of(rows), times_of(rows)
    is_told = (ids != NO_ID) & (times_ms != NO_TIME)
    order = np.argsort(ids[is_told], kind="stable")
    return ids[is_told][order], times_ms[is_told][order]


def kth_oldest_ms(times_ms: Int64Array) -> int | None:
    """The oldest time that ROWS_THAT_TELL rows are not later than, or all if there are fewer; None without any."""
    told_ms = np.sort(times_ms[times_ms != NO_TIME])
    return int(told_ms[min(ROWS_THAT_TELL, len(told_ms)) - 1]) if len(told_ms) else None


def kth_newest_ms(times_ms: Int64Array) -> int:
    """The newest time that ROWS_THAT_TELL rows are not earlier than, or all if there are fewer; else NO_TIME."""
    told_ms = np.sort(times_ms[times_ms != NO_TIME])
    return int(told_ms[-min(ROWS_THAT_TELL, len(told_ms))]) if len(told_ms) else NO_TIME


def chosen(rows: Sequence[object], mask: npt.NDArray[np.bool_]) -> list[object]:
    """The rows for which the mask is true."""
    return list(compress(rows, cast("Iterable[bool]", mask.tolist())))


def _floored(cell: object) -> int | None:
    """The millisecond that text or a fraction tells, which are good times to `tapehouse.validate` as well."""
    if isinstance(cell, str) and "_" not in cell:
        try:
            cell = float(cell)
        except ValueError:
            return None
    return floor(cell) if isinstance(cell, float) and isfinite(cell) else None


def _plain_times(rows: Sequence[object]) -> Int64Array | None:
    """The times without a call a row, if every row begins with a believable int, as almost all do."""
    if not set(map(type, rows)) <= {list, tuple} or not all(rows):
        return None
    fronts = [row[0] for row in cast("Sequence[Sequence[object]]", rows)]
    if not set(map(type, fronts)) <= {int}:
        return None
    times_ms = cast("list[int]", fronts)
    if times_ms and (min(times_ms) not in BELIEVABLE_MS or max(times_ms) not in BELIEVABLE_MS):
        return None
    return np.array(times_ms, dtype=np.int64)


def _plain_ids(rows: Sequence[object]) -> Int64Array | None:
    """The ids without a call a row, if every row has a whole number there, as almost all have."""
    if not set(map(type, rows)) <= {tuple} or not all(rows):
        return None
    cells = [row[1] for row in cast("Sequence[tuple[object, ...]]", rows)]
    if not set(map(type, cells)) <= {str}:
        return None
    texts = cast("list[str]", cells)
    if not all(map(str.isdecimal, texts)) or max(map(len, texts), default=0) >= _MOST_DIGITS:
        return None
    return np.array(list(map(int, texts)), dtype=np.int64)


def _id_of(row: object) -> int:
    if not isinstance(row, tuple) or len(cast("tuple[object, ...]", row)) < 2:
        return NO_ID
    text = cast("tuple[object, ...]", row)[1]
    if not isinstance(text, str) or not text.isdecimal() or len(text) > _MOST_DIGITS:
        return NO_ID
    return number if (number := int(text)) < _TOO_LARGE else NO_ID
