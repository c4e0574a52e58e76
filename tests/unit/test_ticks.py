from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.store.ticks import decimals_needed, fits, most_decimals, to_ticks


# The largest of them all, 2^53 - 1, can share its float64 with 2^53, and then counts as too large.
@given(ticks=st.integers(0, 2**53 - 2), decimals=st.integers(0, 12))
def test_every_decimal_below_2_53_ticks_is_stored_and_read_back_exactly(ticks: int, decimals: int):
    written = str(Decimal(ticks).scaleb(-decimals))
    value = np.array([float(written)])
    needed = int(decimals_needed(value, 0)[0])
    assert needed <= decimals
    stored = to_ticks(value, needed)
    assert stored[0] == int(stored[0])
    assert (stored / 10.0**needed)[0] == float(written)


@pytest.mark.parametrize(
    ("value", "at_least", "needed"),
    [
        (1.0, 0, 0),
        (1.0, 2, 2),
        (0.1, 0, 1),
        (50000.35, 0, 2),
        (1e-8, 0, 8),
        (1.2345, 2, 4),
        (0.1 + 0.2, 0, 19),
        (2.0**53, 0, 19),
    ],
)
def test_decimals_needed(value: float, at_least: int, needed: int):
    assert decimals_needed(np.array([value]), at_least).tolist() == [needed]


def test_fits_is_by_value():
    assert fits(np.array([0.5, 0.25, 1e300, 3.0]), 1).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("largest", "decimals"), [(0.0, 18), (1.0, 15), (9.0, 15), (9.1, 14), (90_000.0, 11), (1e16, 0)]
)
def test_most_decimals_keeps_the_largest_below_2_53(largest: float, decimals: int):
    assert most_decimals(largest) == decimals
