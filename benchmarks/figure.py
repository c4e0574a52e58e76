"""Figures: what a benchmark found, beside its baseline and its bar.

How figures are taken is `rounds`, how they are shown is `report`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit for a figure's ratio, or for what was measured itself.

    One that is `native_only` is not judged on the embedded database.
    """

    relation: Literal[">=", "<="]
    limit: float
    of: Literal["ratio", "measured"] = "ratio"
    native_only: bool = False

    def is_met(self, figure: "Figure") -> bool:
        """Whether the figure keeps within the limit."""
        value = figure.ratio if self.of == "ratio" else figure.measured
        return value >= self.limit if self.relation == ">=" else value <= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One benchmark's outcome: `measured` and `baseline` in `unit`, medians over all rounds.

    `ratio` is the median of the rounds' own ratios of measured to baseline, `spread` the lowest
    and the highest of them.
    """

    key: str
    measured: float
    baseline: float
    unit: str
    ratio: float
    spread: tuple[float, float]
    baseline_name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A figure that could not be taken here, and why."""

    key: str
    reason: str


Outcome = Figure | Skipped
