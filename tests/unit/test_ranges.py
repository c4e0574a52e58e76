from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tapehouse.ranges import TimeRange, intersect_ranges, merge_ranges, subtract_ranges

START = datetime(2025, 1, 1, tzinfo=UTC)
bounds = st.tuples(st.integers(0, 40), st.integers(0, 40)).filter(lambda pair: pair[0] <= pair[1])
range_lists = st.lists(bounds.map(lambda pair: (minute(pair[0]), minute(pair[1]))), max_size=6)


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


def minutes(ranges: list[TimeRange]) -> set[int]:
    """The same time as a set of minutes: what the functions under test never build."""
    return {number for number in range(41) for start, end in ranges if start <= minute(number) < end}


def is_minimal(ranges: list[TimeRange]) -> bool:
    ordered = all(before[1] < after[0] for before, after in pairwise(ranges))
    return ordered and all(start < end for start, end in ranges)


@given(ranges=range_lists)
def test_merged_ranges_are_the_same_time_in_the_fewest_ranges(ranges: list[TimeRange]):
    merged = merge_ranges(ranges)
    assert minutes(merged) == minutes(ranges)
    assert is_minimal(merged)


@given(ranges=range_lists, holes=range_lists)
def test_subtracted_ranges_are_the_difference(ranges: list[TimeRange], holes: list[TimeRange]):
    left = subtract_ranges(ranges, holes)
    assert minutes(left) == minutes(ranges) - minutes(holes)
    assert is_minimal(left)


@given(left=range_lists, right=range_lists)
def test_what_two_lists_have_in_common_is_in_both(left: list[TimeRange], right: list[TimeRange]):
    common = intersect_ranges(left, right)
    assert minutes(common) == minutes(left) & minutes(right)
    assert is_minimal(common)
