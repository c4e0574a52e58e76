"""Values of recordings as whole ticks or lots: how many decimals they need, and how many an exchange announces."""

from typing import Final

import numpy as np

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.errors import InputError

# Below it a whole number divided by a power of ten is a float that prints as that very decimal.
_WHOLE_LIMIT: Final = 2.0**52
_MOST_DECIMALS: Final = 15
# What an exchange announces covers all but a few of its values: recordings hold a stray decimal or two.
_STRAY_SHARE: Final = 0.001


def decimals_needed(values: Float64Array, name: str) -> Int64Array:
    """How many decimals the shortest decimal of each value has; raises InputError, which names the recording."""
    left = values.ravel()
    needs = np.zeros(left.size, dtype=np.int64)
    index = np.arange(left.size)
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = np.rint(left * 10.0**decimals)
        fits = (scaled / 10.0**decimals == left) & (np.abs(scaled) < _WHOLE_LIMIT)
        needs[index[fits]] = decimals
        left, index = left[~fits], index[~fits]
        if not len(left):
            return needs
    raise InputError(f"{name} has a value that no decimal of {_MOST_DECIMALS} places gives exactly: {left[0]!r}.")


def most_decimals(needs: Int64Array) -> int:
    """The decimals that all values together need."""
    return int(needs.max(initial=0))


def announced_decimals(needs: Int64Array) -> int:
    """The decimals that all but a few stray values need."""
    if len(needs) <= 1 / _STRAY_SHARE:
        return most_decimals(needs)
    return int(np.quantile(needs, 1 - _STRAY_SHARE, method="higher"))


def whole(values: Float64Array, decimals: int) -> Int64Array:
    """The values in units of the last of so many decimals."""
    return np.rint(values * 10.0**decimals).astype(np.int64)
