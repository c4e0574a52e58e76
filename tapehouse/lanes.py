"""Lanes: the time line of a stored series, in parts that are each in one state, as a chart shows them.

Times are int64 microseconds since 1970 UTC. What the parts are is found by `tapehouse.query.timelines`, and
drawn by `tapehouse.coverage_chart`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Int64Array

State: TypeAlias = Literal[
    "unasked", "outside", "rows", "empty", "dropped", "substituted", "missing", "beyond", "rejected", "failed"
]
# What each means, from what matters least to what matters most where there is room for one of them.
MEANINGS: Final[dict[State, str]] = {
    "unasked": "outside of what was asked for",
    "outside": "not listed then",
    "rows": "fetched",
    "empty": "fetched, known to be empty",
    "dropped": "dropped by retention",
    "substituted": "from another source",
    "missing": "never asked for",
    "beyond": "not to be had",
    "rejected": "rejected rows",
    "failed": "failed after retries",
}
STATES: Final = tuple(MEANINGS)
NOTHING: Final = -1

StateArray: TypeAlias = npt.NDArray[np.int8]
# Sorted, disjoint ranges: starts and ends.
Ranges: TypeAlias = tuple[Int64Array, Int64Array]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Parts of a time line, one after the other, without holes in between.

    `bounds_us` are where they start and, one more, where the last one ends. `state` is the place in STATES
    of what each part is for the most part, and `also` that of what else matters in it, else NOTHING.
    `share` is how much of the part is in its state, and `pieces` what it was before anything was merged.
    """

    bounds_us: Int64Array
    state: StateArray
    also: StateArray
    share: npt.NDArray[np.float64]
    pieces: Int64Array

    def __len__(self) -> int:
        return len(self.state)


@dataclass(frozen=True, slots=True)
class Lane:
    """A series and its time line; `name` tells it from others of its exchange, `rows` is how many it holds."""

    exchange: str
    name: str
    rows: int
    from_sandbox: bool
    parts: Parts


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes of some series over one window, sorted by exchange; all parts begin and end with the window."""

    start_us: int
    end_us: int
    lanes: tuple[Lane, ...]

    def merged(self, steps: int, *, most_parts: int) -> "Lanes":
        """The same as seen at so many steps over the window, or at fewer where that leaves more parts than that."""
        while True:
            step_us = max(1, (self.end_us - self.start_us) // steps)
            lanes = tuple(replace(lane, parts=merge_parts(lane.parts, step_us)) for lane in self.lanes)
            if steps <= 1 or sum(len(lane.parts) for lane in lanes) <= most_parts:
                return replace(self, lanes=lanes)
            steps //= 2


def paint(window: tuple[int, int], layers: Iterable[tuple[State, Ranges]]) -> Parts:
    """The parts of a window, which begins as unasked and has each layer painted over those before it."""
    kept = [(STATES.index(state), _within(window, ranges)) for state, ranges in layers]
    bounds_us = np.unique(np.concatenate([np.array(window), *(bound for _, ranges in kept for bound in ranges)]))
    state = np.zeros(len(bounds_us) - 1, dtype=np.int8)
    for place, ranges in kept:
        state[_inside(bounds_us[:-1], ranges)] = place
    return _joined(bounds_us, state)


def common_ranges(left: Ranges, right: Ranges) -> Ranges:
    """What lies in ranges of both; in more pieces, perhaps, than there have to be."""
    return _compared(left, right, np.logical_and)


def ranges_without(left: Ranges, right: Ranges) -> Ranges:
    """What lies in ranges of the left and in none of the right; in more pieces, perhaps, than there have to be."""
    return _compared(left, right, np.greater)


def merge_parts(parts: Parts, step_us: int) -> Parts:
    """The same with what is shorter than a step merged with its short neighbours, step by step.

    A short part between long ones stays as it is, so that no lone hole goes unseen.
    """
    lengths_us = np.diff(parts.bounds_us)
    is_short = lengths_us < step_us
    alone = is_short & ~_shifted(is_short, 1) & ~_shifted(is_short, -1)
    is_merged = is_short & ~alone
    step = np.where(is_merged, parts.bounds_us[:-1] // step_us, np.arange(len(parts)))
    starts = np.flatnonzero(_changes(step) | _changes(is_merged) | ~is_merged)
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(parts))))
    time_us = np.zeros((len(starts), len(STATES)), dtype=np.int64)
    np.add.at(time_us, (group, parts.state), lengths_us)
    return _same_joined(parts, starts, time_us)


def _within(window: tuple[int, int], ranges: Ranges) -> Ranges:
    start_us, end_us = np.maximum(ranges[0], window[0]), np.minimum(ranges[1], window[1])
    is_left = start_us < end_us
    return start_us[is_left], end_us[is_left]


def _compared(left: Ranges, right: Ranges, is_kept: np.ufunc) -> Ranges:
    bounds_us = np.unique(np.concatenate([*left, *right]))
    kept = is_kept(_inside(bounds_us, left), _inside(bounds_us, right))
    return bounds_us[kept], np.append(bounds_us[1:], bounds_us[-1:])[kept]


def _inside(times_us: Int64Array, ranges: Ranges) -> npt.NDArray[np.bool_]:
    """Which times lie in a range."""
    start_us, end_us = ranges
    if not len(start_us):
        return np.zeros(len(times_us), dtype=np.bool_)
    before = np.searchsorted(start_us, times_us, side="right") - 1
    return (before >= 0) & (times_us < end_us[before])


def _joined(bounds_us: Int64Array, state: StateArray) -> Parts:
    """The parts with neighbours of one state as one."""
    starts = np.flatnonzero(_changes(state))
    return Parts(
        bounds_us=np.append(bounds_us[starts], bounds_us[-1]),
        state=state[starts],
        also=np.full(len(starts), NOTHING, dtype=np.int8),
        share=np.ones(len(starts)),
        pieces=np.ones(len(starts), dtype=np.int64),
    )


def _same_joined(parts: Parts, starts: Int64Array, time_us: Int64Array) -> Parts:
    """Groups of parts, which begin there and are so long in each state, with neighbours that look alike as one."""
    state = time_us.argmax(axis=1)
    others = time_us > 0
    others[np.arange(len(state)), state] = False
    # The last place in STATES is what matters most.
    also = np.where(others.any(axis=1), len(STATES) - 1 - others[:, ::-1].argmax(axis=1), NOTHING)
    firsts = np.flatnonzero(_changes(state) | _changes(also))
    total_us = np.add.reduceat(time_us, firsts, axis=0)
    begins = starts[firsts]
    return Parts(
        bounds_us=np.append(parts.bounds_us[begins], parts.bounds_us[-1]),
        state=state[firsts].astype(np.int8),
        also=also[firsts].astype(np.int8),
        share=total_us[np.arange(len(firsts)), state[firsts]] / total_us.sum(axis=1),
        pieces=np.add.reduceat(parts.pieces, begins),
    )


def _changes(values: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Where a value differs from the one before; the first does."""
    return np.concatenate([[True], values[1:] != values[:-1]])


def _shifted(values: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """Each value's neighbour, false beyond the ends."""
    shifted = np.roll(values, by)
    shifted[0 if by > 0 else -1] = False
    return shifted
