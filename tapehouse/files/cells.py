"""Cells as numbers, ids, sides and truths: columns of any type that a file may have, exactly.

What can't be read as a number becomes NaN, and validation rejects its row. Times are `times`' business.
"""

from math import nan
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Float64Array
from tapehouse.files.arrow import Array, compute, pa
from tapehouse.trade import BOUGHT, SOLD, UNKNOWN_SIDE
from tapehouse.validate.conversion import floats_of
from tapehouse.validate.ids import Ids, ids_of

_SIDES: Final = {
    **dict.fromkeys(("buy", "b"), float(BOUGHT)),
    **dict.fromkeys(("sell", "s"), float(SOLD)),
    **dict.fromkeys(("", "unknown", None), float(UNKNOWN_SIDE)),
}
_TRUTHS: Final = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def numbers(column: Array) -> Float64Array:
    """The cells as the nearest float64, NaN for those that are no numbers."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return numbers(column.dictionary_decode())
    if pa.types.is_decimal(kind) or (pa.types.is_floating(kind) and kind.bit_width < 64):
        # By their shortest decimals: the float64 nearest to what is meant, not to what is held.
        return numbers(compute.cast(column, pa.string()))
    if pa.types.is_boolean(kind):
        return np.full(len(column), nan)
    try:
        cast = compute.cast(column, pa.float64(), safe=not pa.types.is_integer(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return floats_of(column.to_pylist())
    return cast.to_numpy(zero_copy_only=False)


def ids(column: Array) -> Ids:
    """The cells as ids of trades."""
    if not pa.types.is_integer(column.type) or column.null_count or pa.types.is_uint64(column.type):
        return ids_of(column.to_pylist())
    values = column.to_numpy(zero_copy_only=False)
    if len(values) and values.min() < 0:
        return ids_of(column.to_pylist())
    count = len(values)
    return Ids(
        values.astype(np.int64), np.full(count, ""), np.zeros(count, dtype=np.bool_), np.ones(count, dtype=np.bool_)
    )


def sides(column: Array) -> Float64Array:
    """The cells as the taker's side, as `tapehouse.trade` has it; NaN for what is no side."""
    return _translated(column, _SIDES)


def sides_of_makers(column: Array) -> Float64Array:
    """The taker's side where the cells say whether the buyer was the maker; NaN for what says neither."""
    return _translated(column, {cell: float(SOLD if truth else BOUGHT) for cell, truth in _TRUTHS.items()})


def are_false(column: Array) -> npt.NDArray[np.bool_]:
    """Whether each cell says no; what is no truth value does not."""
    return _translated(column, {cell: float(truth) for cell, truth in _TRUTHS.items()}) == 0


def _translated(column: Array, meanings: dict[str, float] | dict[str | None, float]) -> Float64Array:
    """Each cell's meaning, whatever its case."""
    encoded = column if pa.types.is_dictionary(column.type) else compute.dictionary_encode(column)
    words = [None if word is None else str(word).strip().lower() for word in encoded.dictionary.to_pylist()]
    known = np.array([*(meanings.get(word, nan) for word in words), meanings.get(None, nan)])  # type: ignore[arg-type]
    return known[encoded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)]
