import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.lanes import (
    NOTHING,
    STATES,
    Lane,
    Lanes,
    Parts,
    Ranges,
    State,
    common_ranges,
    merge_parts,
    paint,
    ranges_without,
)

LENGTH = 60


def ranges(*pairs: tuple[int, int]) -> Ranges:
    starts, ends = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)


def told(parts: Parts) -> list[tuple[int, int, str, str | None]]:
    """Start, end, state, and what else is in it."""
    bounds = parts.bounds_us.tolist()
    names = [None if place == NOTHING else STATES[int(place)] for place in parts.also.tolist()]
    states = [STATES[int(place)] for place in parts.state.tolist()]
    return list(zip(bounds[:-1], bounds[1:], states, names, strict=True))


def by_moment(parts: Parts) -> list[str]:
    return [state for start, end, state, _ in told(parts) for _ in range(start, end)]


@st.composite
def sorted_ranges(draw: st.DrawFn) -> Ranges:
    bounds = sorted(draw(st.sets(st.integers(-5, LENGTH + 5), max_size=12)))
    return ranges(*zip(bounds[::2], bounds[1::2], strict=False))


layers = st.lists(st.tuples(st.sampled_from(STATES), sorted_ranges()), max_size=6)


@given(layers=layers)
def test_later_layers_lie_over_those_before(layers: list[tuple[State, Ranges]]):
    expected = ["unasked"] * LENGTH
    for state, (starts, ends) in layers:
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            for moment in range(max(start, 0), min(end, LENGTH)):
                expected[moment] = state
    parts = paint((0, LENGTH), layers)
    assert by_moment(parts) == expected
    assert (np.diff(parts.state) != 0).all()


@given(left=sorted_ranges(), right=sorted_ranges())
def test_ranges_are_compared_by_what_they_hold(left: Ranges, right: Ranges):
    def moments(one: Ranges) -> set[int]:
        return {moment for start, end in zip(*one, strict=True) for moment in range(start, end)}

    assert moments(common_ranges(left, right)) == moments(left) & moments(right)
    assert moments(ranges_without(left, right)) == moments(left) - moments(right)


def test_a_lone_hole_is_kept_exactly_however_short():
    parts = paint((0, 1000), [("rows", ranges((0, 1000))), ("failed", ranges((700, 701)))])
    assert told(merge_parts(parts, 100)) == [
        (0, 700, "rows", None),
        (700, 701, "failed", None),
        (701, 1000, "rows", None),
    ]


def test_short_neighbours_become_one_part_that_names_what_matters_most():
    holes = ranges(*((at, at + 2) for at in range(410, 590, 10)))
    parts = paint((0, 1000), [("rows", ranges((0, 1000))), ("missing", holes), ("failed", ranges((455, 456)))])
    merged = merge_parts(parts, 100)
    # Steps are those of the clock: 400 to 499 and 500 to 599.
    assert told(merged) == [
        (0, 410, "rows", None),
        (410, 500, "rows", "failed"),
        (500, 582, "rows", "missing"),
        (582, 1000, "rows", None),
    ]
    assert merged.pieces.tolist() == [1, 20, 17, 1]
    assert merged.share.tolist() == pytest.approx([1, 1 - 19 / 90, 1 - 18 / 82, 1])


@given(layers=layers, step=st.integers(1, LENGTH + 1))
def test_merging_loses_no_time_and_no_piece(layers: list[tuple[State, Ranges]], step: int):
    parts = paint((0, LENGTH), layers)
    merged, moments = merge_parts(parts, step), by_moment(parts)
    assert merged.bounds_us[[0, -1]].tolist() == [0, LENGTH]
    assert merged.pieces.sum() == len(parts)
    for (start, end, state, also), share in zip(told(merged), merged.share.tolist(), strict=True):
        here = moments[start:end]
        assert share == pytest.approx(here.count(state) / len(here))
        others = set(here) - {state}
        assert also == max(others, key=STATES.index, default=None)


@given(layers=layers)
def test_at_the_finest_step_nothing_is_merged(layers: list[tuple[State, Ranges]]):
    parts = paint((0, LENGTH), layers)
    assert told(merge_parts(parts, 1)) == told(parts)


def test_lanes_of_many_ranges_are_seen_at_fewer_steps():
    holes = ranges(*((at, at + 3) for at in range(0, 100_000, 10)))
    parts = paint((0, 100_000), [("rows", ranges((0, 100_000))), ("missing", holes)])
    lanes = Lanes(0, 100_000, tuple(Lane("x", str(number), 0, False, parts) for number in range(10)))
    shown = lanes.merged(50_000, most_parts=300)
    assert sum(len(lane.parts) for lane in shown.lanes) <= 300
    assert all(lane.parts.bounds_us[[0, -1]].tolist() == [0, 100_000] for lane in shown.lanes)
    assert lanes.merged(1000, most_parts=300).lanes[0].parts.share.tolist() == pytest.approx([0.7])
