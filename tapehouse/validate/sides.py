"""One side, bids or asks, of many order books as flat arrays of levels.

Nothing is judged here: what is no pair of numbers becomes NaN, and a schema rejects the book.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import nan
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.validate.conversion import floats_of
from tapehouse.validate.selection import LineNumbers

_NO_PAIR: Final = (nan, nan)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The levels of all books one after the other, in the order received; `count` says how many are whose.

    `is_pair` is false for a level that holds no two cells.
    """

    count: Int64Array
    price: Float64Array
    amount: Float64Array
    is_pair: npt.NDArray[np.bool_]

    @property
    def best(self) -> Float64Array:
        """The first price of each book, NaN without one."""
        best = np.full(len(self.count), nan)
        has_levels = self.count > 0
        best[has_levels] = self.price[self._first[has_levels]]
        return best

    def number_of(self, levels: npt.NDArray[np.bool_]) -> Int64Array:
        """How many levels of each book are among those for which the mask is true."""
        return np.bincount(self._owner[levels], minlength=len(self.count))

    def follows(self, compare: Callable[[Any, Any], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
        """For which levels the comparison of their price with that of the level before is true."""
        follows = np.zeros(len(self.price), dtype=np.bool_)
        is_of_same = self._owner[1:] == self._owner[:-1]
        follows[1:] = is_of_same & compare(self.price[1:], self.price[:-1])
        return follows

    def is_equal(self, first: int, second: int) -> bool:
        """Whether those two books have the same levels."""
        one, other = (self.take(np.array([book], dtype=np.intp)) for book in (first, second))
        return np.array_equal(one.price, other.price) and np.array_equal(one.amount, other.amount)

    def take(self, books: LineNumbers) -> "Side":
        """The side of those books, in that order."""
        count = self.count[books]
        levels = np.repeat(self._first[books] - _starts(count), count) + np.arange(int(count.sum()))
        return Side(count, self.price[levels], self.amount[levels], self.is_pair[levels])

    @property
    def _first(self) -> Int64Array:
        return _starts(self.count)

    @property
    def _owner(self) -> Int64Array:
        return np.repeat(np.arange(len(self.count)), self.count)


def side_of(books: Sequence[object], depth: int) -> Side:
    """The first `depth` levels of each of those sides; numeric strings count as numbers."""
    kept = [_first_levels(levels, depth) for levels in books]
    levels: list[object] = list(chain.from_iterable(kept))
    is_pair = [isinstance(level, list | tuple) and len(cast("Sequence[object]", level)) >= 2 for level in levels]
    pairs = [
        cast("Sequence[object]", level) if has_two else _NO_PAIR for level, has_two in zip(levels, is_pair, strict=True)
    ]
    return Side(
        count=np.array(list(map(len, kept)), dtype=np.int64),
        price=floats_of([pair[0] for pair in pairs]),
        amount=floats_of([pair[1] for pair in pairs]),
        is_pair=np.array(is_pair, dtype=np.bool_),
    )


def _first_levels(levels: object, depth: int) -> Sequence[object]:
    return cast("Sequence[object]", levels)[:depth] if isinstance(levels, list | tuple) else ()


def _starts(count: Int64Array) -> Int64Array:
    return np.cumsum(count) - count
