"""Conversion of what exchanges send, which may be any JSON, into columns of numbers, and back into something to keep.

No judgement belongs here: what can't be read as a number becomes NaN, and a schema rejects it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from types import NoneType
from typing import Final, cast

import numpy as np

from tapehouse.candle import BELIEVABLE_MS, Float64Array, Int64Array

NOT_A_TIME: Final[int] = np.iinfo(np.int64).min  # numpy's NaT
# What numpy turns into float64 as we would: None becomes NaN. Booleans are not among them.
_PLAIN: Final = frozenset((int, float, NoneType))
# So deep is what is kept; JSON may nest deeper than Python's stack.
_MOST_LEVELS: Final = 50
_TOO_DEEP: Final = "(nested too deep to keep)"


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """The rows of the shape wanted, in the order received.

    `positions` says where each of them stood among all rows, `misshapen` holds the others by where they stood.
    """

    rows: Sequence[Sequence[object]]
    positions: Int64Array
    misshapen: Mapping[int, object]


def lines_of(rows: Sequence[object], width: int, *kinds: type) -> Lines:
    """The rows that are of one of those kinds and that long, apart from those that are not."""
    shapely = cast("Sequence[Sequence[object]]", rows)
    if set(map(type, rows)) <= set(kinds) and set(map(len, shapely)) <= {width}:
        return Lines(shapely, np.arange(len(rows)), {})
    positions = [n for n, row in enumerate(rows) if isinstance(row, kinds) and len(shapely[n]) == width]
    misshapen = dict(enumerate(rows))
    lines = [cast("Sequence[object]", misshapen.pop(position)) for position in positions]
    return Lines(lines, np.array(positions, dtype=np.int64), misshapen)


def floats_of(cells: Sequence[object]) -> Float64Array:
    """The cells as numbers; numeric strings count, booleans and all else become NaN."""
    if not set(map(type, cells)) <= _PLAIN:
        cells = [cell if type(cell) in _PLAIN else _number(cell) for cell in cells]
    try:
        return np.array(cells, dtype=np.float64)
    except OverflowError:
        return np.array([_number(cell) for cell in cells], dtype=np.float64)


def believable_us(times_ms: Float64Array) -> Int64Array:
    """The times in microseconds since 1970 UTC, NOT_A_TIME for those outside the believable years."""
    believable = (times_ms >= BELIEVABLE_MS.start) & (times_ms < BELIEVABLE_MS.stop)
    times_us = np.full(len(times_ms), NOT_A_TIME, dtype=np.int64)
    times_us[believable] = np.rint(times_ms[believable] * 1000)
    return times_us


def storable(raw: object) -> object:
    """The same value as JSON that PostgreSQL takes: NaN and infinity as text, no NUL, no lone surrogate.

    Lists and objects inside of 50 others are replaced by a text that says so.
    """
    return _storable(raw, _MOST_LEVELS)


def _storable(raw: object, levels: int) -> object:
    if isinstance(raw, str):
        return raw.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    if isinstance(raw, float) and not isfinite(raw):
        return str(raw)
    if raw is None or isinstance(raw, bool | int | float):
        return raw
    if isinstance(raw, list | tuple | dict) and not levels:
        return _TOO_DEEP
    if isinstance(raw, list | tuple):
        return [_storable(item, levels - 1) for item in cast("Sequence[object]", raw)]
    if isinstance(raw, dict):
        items = cast("dict[object, object]", raw).items()
        return {str(_storable(str(key), levels)): _storable(item, levels - 1) for key, item in items}
    return _storable(repr(raw), levels)


def _number(cell: object) -> float:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return nan
    if isinstance(cell, str) and "_" in cell:
        return nan  # float() takes "1_000", which no exchange means
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return nan
