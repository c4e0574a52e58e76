"""Choosing lines of a page: those that passed, and of several with the same key the last.

What makes a line fail is in `schema`.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

LineNumbers = npt.NDArray[np.intp]


def lines_without(failed: Iterable[int], count: int) -> LineNumbers:
    """The numbers 0 to `count` - 1 but for those that failed."""
    passed = np.ones(count, dtype=np.bool_)
    passed[list(failed)] = False
    return np.flatnonzero(passed)


def last_of_each(lines: LineNumbers, *keys: npt.NDArray[Any]) -> LineNumbers:
    """Of those lines the last with each key, sorted by it; the first of the columns in `keys` sorts first."""
    order = lines[np.lexsort([key[lines] for key in reversed(keys)])]
    differs = [key[order[1:]] != key[order[:-1]] for key in keys]
    is_last = np.append(np.logical_or.reduce(differs), [True])[: len(order)]
    return order[is_last]
