"""Random numbers that are functions of a seed and an index: any stretch can be had without what lies before it.

Only additions, multiplications and rounding are used, so that every process and machine
gets the same bits.
"""

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Float64Array, Int64Array

UInt64Array = npt.NDArray[np.uint64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)


def seed_of(*parts: object) -> int:
    """A 64-bit seed made of anything that has a stable text."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def bits(seed: int, index: Int64Array) -> UInt64Array:
    """64 independent random bits for each index (SplitMix64; Steele, Lea and Flood 2014)."""
    z = (index.astype(np.uint64) + np.uint64(seed)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def uniform(random: UInt64Array, *, first_bit: int = 0, count: int = 53) -> Float64Array:
    """Numbers in [0, 1) made of `count` of the bits."""
    cut = (random >> np.uint64(first_bit)) & np.uint64(2**count - 1)
    return cut.astype(np.float64) * 2.0**-count


def value_noise(seed: int, first: int, count: int, *, octave: int) -> Float64Array:
    """Smooth noise in [-1, 1) at the indices first, first + 1...: random every 2^octave, blended in between.

    It never changes by more than 3 / 2^octave from one index to the next.
    """
    index = np.arange(first, first + count, dtype=np.int64)
    cell = index >> octave
    lattice = 2.0 * uniform(bits(seed, np.arange(cell[0], cell[-1] + 2, dtype=np.int64))) - 1.0
    cell -= cell[0]
    part = (index & ((1 << octave) - 1)) * 2.0**-octave
    weight = part * part * (3.0 - 2.0 * part)
    low = lattice[cell]
    return low + (lattice[cell + 1] - low) * weight


def exponential(x: Float64Array) -> Float64Array:
    """Close to e^x for small x: (1 + x / 256)^256 by squaring, the same bits everywhere."""
    y = 1.0 + x / 256.0
    for _ in range(8):
        y = y * y
    return y
