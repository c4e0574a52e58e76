"""Sizes as people read them."""

import pytest

from tapehouse.status.texts import size


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (123_456, "123 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (1_610_612_736, "1.61 GB"),
        (999_999_999_999, "1 TB"),
        (1.2e15, "1,200 TB"),
    ],
)
def test_a_size_has_three_digits_and_a_unit(count: float, said: str):
    assert size(count) == said
