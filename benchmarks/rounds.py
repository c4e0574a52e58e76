"""Rounds: the measured and its baseline by turns, so that what else the machine does falls on both."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeVar

import numpy as np

from benchmarks.figure import Figure

T = TypeVar("T")

# Does one piece of work and says how much of something it took: seconds, megabytes.
Measure = Callable[[], float]

# With pauses between requests, which are long and even, few rounds do.
LIMITED_ROUNDS: Final = 2


@dataclass(frozen=True, slots=True)
class Rounds:
    """What each round took, the measured beside its baseline."""

    measured: tuple[float, ...]
    baseline: tuple[float, ...]

    def as_cost(self, key: str, unit: str, *, baseline: str, scale: float = 1.0, note: str = "") -> Figure:
        """The figure of what was taken, `scale` times that in `unit`: less is better."""
        return _figure(key, unit, self.measured, self.baseline, baseline, scale, note)

    def as_rate(self, key: str, unit: str, amount: float, *, baseline: str, note: str = "") -> Figure:
        """The figure of that amount of work by what was taken: more is better."""
        measured, bare = ([amount / taken for taken in some] for some in (self.measured, self.baseline))
        return _figure(key, unit, measured, bare, baseline, 1.0, note)


def take_rounds(count: int, measured: Measure, baseline: Measure, *, warm_up: bool = True) -> Rounds:
    """Take that many rounds, each in the other order than the one before; the first of all does not count."""
    taken: list[tuple[float, float]] = []
    for number in range(count + warm_up):
        if number % 2:
            one, other = measured(), baseline()
        else:
            other, one = baseline(), measured()
        taken.append((one, other))
    ones, others = zip(*taken[warm_up:], strict=True)
    return Rounds(ones, others)


def time_s(work: Callable[[], object]) -> float:
    """How many seconds a piece of work takes."""
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def percentile_s(percent: float, work: Callable[[T], object], arguments: Iterable[T]) -> float:
    """The seconds within which that share of calls has ended, one call after another."""
    taken_s = [time_s(lambda one=one: work(one)) for one in arguments]
    return float(np.percentile(taken_s, percent))


def _figure(
    key: str,
    unit: str,
    measured: Sequence[float],
    baseline: Sequence[float],
    baseline_name: str,
    scale: float,
    note: str,
) -> Figure:
    ratios = [one / other for one, other in zip(measured, baseline, strict=True)]
    return Figure(
        key=key,
        measured=scale * median(measured),
        baseline=scale * median(baseline),
        unit=unit,
        ratio=median(ratios),
        spread=(min(ratios), max(ratios)),
        baseline_name=baseline_name,
        note=note,
    )
