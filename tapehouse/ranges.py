"""Half-open time ranges in UTC and what can be done with lists of them."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tapehouse.timeframe import aware_utc

TimeRange = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A range that the exchange could not or would not give, and why (a short stable word).

    Raises NaiveDatetime for bounds without a time zone.
    """

    start: datetime
    end: datetime
    cause: str

    def __post_init__(self) -> None:
        aware_utc(self.start)
        aware_utc(self.end)


@dataclass(frozen=True, slots=True)
class Substitute:
    """A range whose rows are not the exchange's own.

    `source` says where they came from: `trades`, a timeframe such as `1m`, or another exchange and its symbol.
    Raises NaiveDatetime for bounds without a time zone.
    """

    start: datetime
    end: datetime
    source: str

    def __post_init__(self) -> None:
        aware_utc(self.start)
        aware_utc(self.end)


def merge_ranges(ranges: Iterable[TimeRange]) -> list[TimeRange]:
    """The same time as the fewest ranges, oldest first; empty ranges vanish."""
    merged: list[TimeRange] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def intersect_ranges(left: Iterable[TimeRange], right: Iterable[TimeRange]) -> list[TimeRange]:
    """What lies in `left` and in `right`, oldest first."""
    common: list[TimeRange] = []
    lefts, rights = merge_ranges(left), merge_ranges(right)
    first = second = 0
    while first < len(lefts) and second < len(rights):
        start = max(lefts[first][0], rights[second][0])
        end = min(lefts[first][1], rights[second][1])
        if start < end:
            common.append((start, end))
        if lefts[first][1] < rights[second][1]:
            first += 1
        else:
            second += 1
    return common


def subtract_ranges(ranges: Iterable[TimeRange], holes: Iterable[TimeRange]) -> list[TimeRange]:
    """What of `ranges` lies in none of `holes`, oldest first."""
    left: list[TimeRange] = []
    waiting = deque(merge_ranges(holes))
    for start, end in merge_ranges(ranges):
        while waiting and waiting[0][0] < end:
            hole_start, hole_end = waiting[0]
            if start < hole_start:
                left.append((start, hole_start))
            start = max(start, hole_end)
            if hole_end >= end:
                break  # It may reach into the next range.
            waiting.popleft()
        if start < end:
            left.append((start, end))
    return left
