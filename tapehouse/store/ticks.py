"""Whole ticks and lots: the exact integers that prices and amounts are stored as, in float8.

A value v fits a scale of d decimals if some whole number n below 2^53 has n / 10^d == v. Since
powers of ten up to 10^22 are exact in float64 and division rounds correctly, n / 10^d is the
float64 nearest to the decimal that the exchange sent: nothing is lost either way.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import PRICE_COLUMNS, Float64Array

MAX_DECIMALS: Final = 18
MAX_TICKS: Final = float(2**53)

_DOES_NOT_FIT: Final = MAX_DECIMALS + 1


@dataclass(frozen=True, slots=True)
class Scale:
    """How many decimals an instrument's prices and amounts are stored with."""

    price_decimals: int
    amount_decimals: int

    def decimals(self, column: str) -> int:
        """The decimals of that column of a candle."""
        return self.price_decimals if column in PRICE_COLUMNS else self.amount_decimals


def to_ticks(values: Float64Array, decimals: int) -> Float64Array:
    """The values as whole multiples of 10^-decimals; they must fit."""
    scale = 10.0**decimals
    ticks = np.rint(values * scale)
    if (ticks / scale == values).all():
        return ticks
    # Above 2^51 the product itself is rounded, and can miss the whole number by one.
    for neighbour in (ticks - 1, ticks + 1):
        ticks = np.where(neighbour / scale == values, neighbour, ticks)
    return ticks


def fits(values: Float64Array, decimals: int) -> npt.NDArray[np.bool_]:
    """Which of the values are exact at that many decimals, and below 2^53 ticks."""
    with np.errstate(over="ignore"):
        ticks = to_ticks(values, decimals)
    return (np.abs(ticks) < MAX_TICKS) & (ticks / 10.0**decimals == values)


def decimals_needed(values: Float64Array, at_least: int) -> npt.NDArray[np.int64]:
    """For each value the fewest decimals, from `at_least` up, at which it fits; 19 where none will do."""
    needed = np.full(len(values), _DOES_NOT_FIT, dtype=np.int64)
    for decimals in range(at_least, MAX_DECIMALS + 1):
        open_ = needed == _DOES_NOT_FIT
        if not open_.any():
            break
        needed[open_ & fits(values, decimals)] = decimals
    return needed


def most_decimals(largest: float) -> int:
    """The most decimals at which values up to `largest` stay below 2^53 ticks."""
    decimals = MAX_DECIMALS
    while decimals and largest * 10.0**decimals >= MAX_TICKS:
        decimals -= 1
    return decimals
