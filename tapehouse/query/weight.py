"""How much memory what is kept takes, in bytes: as much as can be told without looking at every object."""

import sys
from collections.abc import Iterable
from typing import Final

import numpy as np

from tapehouse.query.frame import Json, MarketFrame
from tapehouse.query.ledger import Ledger
from tapehouse.query.plan import SeriesState

# Of pandas' own objects: a frame and its index; and of each column its name, and where it is found by that.
FRAME_BYTES: Final = 4_500
_COLUMN_BYTES: Final = 450
# A pair of datetimes; with the text that says where they came from, a substitute.
_RANGE_BYTES: Final = 160
_SUBSTITUTE_BYTES: Final = 300
_STATE_BYTES: Final = 400


def frame_bytes(frame: MarketFrame) -> int:
    """Of a frame without its attrs."""
    objects = FRAME_BYTES + _COLUMN_BYTES * len(frame.columns)
    return objects + int(frame.memory_usage(index=True, deep=True).sum())


def json_bytes(value: Json) -> int:
    """Of attrs, and all that is in them."""
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(map(json_bytes, value.values()))
    return size + sum(map(json_bytes, value)) if isinstance(value, list) else size


def array_bytes(arrays: Iterable[np.ndarray]) -> int:
    """Of arrays that share no memory."""
    return sum(array.nbytes for array in arrays)


def ledger_bytes(ledger: Ledger) -> int:
    """Of a ledger, which has as many ranges as there are holes in what was fetched."""
    return sum(map(_state_bytes, ledger.series.values()))


def _state_bytes(state: SeriesState) -> int:
    ranges = len(state.covered) + len(state.stale_rollups) + len(state.stale_features)
    return _STATE_BYTES + _RANGE_BYTES * ranges + _SUBSTITUTE_BYTES * len(state.substitutes)
