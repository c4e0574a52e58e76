"""Conversion of raw rows, which may be any JSON, into float columns, and back into something to keep.

No judgement belongs here: what can't be read as a number becomes NaN, and the schema rejects it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite, nan
from typing import Any, cast

import numpy as np

from tapehouse.candle import Float64Array, Int64Array

_WIDTH = 6  # ccxt's candle: time in ms, open, high, low, close, volume


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The rows that have a candle's shape, as numbers.

    `values` has one line a row: time in ms, open, high, low, close, volume. `positions` says
    where each of them stood among the rows received, `misshapen` where the others stood.
    """

    values: Float64Array
    positions: Int64Array
    misshapen: tuple[int, ...]


def columns_of(rows: Sequence[object]) -> Columns:
    """The rows as numbers; numeric strings count, booleans and all else become NaN."""
    quick = _plain_numbers(rows)
    if quick is not None:
        return Columns(quick, np.arange(len(rows)), ())
    positions = [position for position, row in enumerate(rows) if _is_row(row)]
    numbers = [[_number(cell) for cell in cast("Sequence[object]", rows[position])] for position in positions]
    values = np.array(numbers, dtype=np.float64).reshape(len(positions), _WIDTH)
    shapely = set(positions)
    misshapen = tuple(position for position in range(len(rows)) if position not in shapely)
    return Columns(values, np.array(positions, dtype=np.int64), misshapen)


def storable(raw: object) -> object:
    """The same value as JSON that PostgreSQL takes: NaN and infinity as text, no NUL, no lone surrogate."""
    if isinstance(raw, str):
        return raw.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    if isinstance(raw, float) and not isfinite(raw):
        return str(raw)
    if raw is None or isinstance(raw, bool | int | float):
        return raw
    if isinstance(raw, list | tuple):
        return [storable(item) for item in cast("Sequence[object]", raw)]
    if isinstance(raw, dict):
        return {str(storable(str(key))): storable(item) for key, item in cast("dict[object, object]", raw).items()}
    return storable(repr(raw))


def _plain_numbers(rows: Sequence[object]) -> Float64Array | None:
    """The rows as an array if every one is six ints or floats, which almost every page is."""
    if not set(map(type, rows)) <= {list, tuple}:
        return None
    lists = cast("Sequence[Sequence[Any]]", rows)
    if not set(map(len, lists)) <= {_WIDTH} or not set(map(type, chain.from_iterable(lists))) <= {int, float}:
        return None
    try:
        flat = np.fromiter(chain.from_iterable(lists), np.float64, count=_WIDTH * len(lists))
    except OverflowError:
        return None
    return flat.reshape(len(lists), _WIDTH)


def _is_row(row: object) -> bool:
    return isinstance(row, list | tuple) and len(cast("Sequence[object]", row)) == _WIDTH


def _number(cell: object) -> float:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return nan
    if isinstance(cell, str) and "_" in cell:
        return nan  # float() takes "1_000", which no exchange means
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return nan
