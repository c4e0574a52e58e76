"""Holes in ids that run without any: from the first id left out to the next one that is there.

How they are asked for again is `trades`' business.
"""

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Int64Array

# The first id left out, and the one after the last.
Hole = tuple[int, int]

# An id that jumps further than this begins another count, or is damaged.
WIDEST_HOLE: Final = 100_000


def holes_among(ids: Int64Array) -> list[Hole]:
    """The holes among ids in order."""
    steps = np.diff(ids)
    before = np.flatnonzero((steps > 1) & (steps <= WIDEST_HOLE))
    firsts, stops = (cast("list[int]", places.tolist()) for places in (ids[before] + 1, ids[before + 1]))
    return list(zip(firsts, stops, strict=True))


def left_out(holes: Sequence[Hole]) -> int:
    """How many ids the holes leave out."""
    return sum(stop - first for first, stop in holes)


def fills(ids: Int64Array, holes: Sequence[Hole]) -> npt.NDArray[np.bool_]:
    """Which of the ids lie in the holes, which are in order."""
    bounds = np.array(holes, dtype=np.int64).reshape(-1)
    # An odd number of bounds up to an id says that a hole has begun and not ended.
    return np.searchsorted(bounds, ids, side="right") % 2 == 1
