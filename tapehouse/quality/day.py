"""The quality of a series on one UTC day, as a record: counts, what was found, the score, and what has changed."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from tapehouse.store.instruments import Dataset

Kind = Literal["gap", "rejected", "disagreement", "stale", "outlier", "crossed", "locked"]

# What is told from day to day; of the rest it is no news that it differs.
_COMPARED: Final = ("expected", "gaps", "rejected", "differing", "stale", "outliers", "crossed")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a part [start, end) of a day.

    `count` says of how many bars, rows, minutes or snapshots, None for gaps of trades and order books. `detail` is
    a gap's cause, the checks that rejected rows failed, or a sentence.
    """

    kind: Kind
    start: datetime
    end: datetime
    count: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class DayQuality:
    """How good a series is on one UTC day; bars belong to the day in which they open.

    - `expected` and `known`: bars, of trades and order books seconds: how many were to be fetched and may have rows,
      and of how many it is known which rows they have, if any;
    - `rows`: how many are stored;
    - `gaps`: stretches that are not known;
    - `rejected`: rows in quarantine;
    - `compared` and `differing`: minutes whose candles were compared with the trades, and that differ;
    - `judged`: bars or snapshots whose prices were looked at, of trades minutes with a trade; of these are
      `stale`, `outliers`, and `crossed` or locked;
    - `cadence_s` and `longest_s`: of order books the median and the longest time between two snapshots.
    """

    exchange: str
    symbol: str
    dataset: Dataset
    timeframe: str | None
    day: datetime
    expected: float
    known: float
    rows: int
    gaps: int
    rejected: int
    compared: int = 0
    differing: int = 0
    judged: int = 0
    stale: int = 0
    outliers: int = 0
    crossed: int = 0
    cadence_s: float | None = None
    longest_s: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def name(self) -> str:
        """The series, as in `binance BTC/USDT 1m`."""
        what = self.timeframe or {"trade": "trades", "order_book": "order books"}[self.dataset]
        return f"{self.exchange} {self.symbol} {what}"

    @property
    def completeness(self) -> float:
        """The share of what was expected that is known, 0 to 1."""
        return min(self.known / self.expected, 1.0)

    @property
    def score(self) -> float:
        """0 to 100, rounded down to hundredths, so that 100 says that nothing was found.

        100 x completeness x (1 - rejected / (rows + rejected)) x (1 - differing / compared) x
        (1 - (stale + outliers + crossed) / judged): the share that none of the faults touches, were they independent
        of each other. What nothing is known of, as of trades to compare with, takes nothing off.
        """
        sound = (
            self.completeness
            * _rest(self.rejected, self.rows + self.rejected)
            * _rest(self.differing, self.compared)
            * _rest(self.stale + self.outliers + self.crossed, self.judged)
        )
        # A hundredth of a hundredth more: products of floats may fall just short of what they are.
        return math.floor(sound * 10_000 + 1e-8) / 100


@dataclass(frozen=True, slots=True)
class ReportedDay:
    """A day and the one before it, if a report has seen that; a day that is not over is compared with none."""

    quality: DayQuality
    before: DayQuality | None
    is_over: bool = True

    @property
    def changes(self) -> dict[str, float] | None:
        """By how much the score and the counts differ from those of the day before, those that do.

        None without one, and for a day that is not over.
        """
        if self.before is None or not self.is_over:
            return None
        score = round(self.quality.score - self.before.score, 2)
        counts = {name: getattr(self.quality, name) - getattr(self.before, name) for name in _COMPARED}
        return {name: change for name, change in {"score": score, **counts}.items() if change}

    @property
    def changes_text(self) -> str:
        """The same for people: `score -0.21, gaps +1`."""
        if not self.is_over:
            return "not over"
        if self.changes is None:
            return "first day"
        units = {} if self.quality.timeframe else {"expected": " s"}
        return ", ".join(f"{name} {change:+,.10g}{units.get(name, '')}" for name, change in self.changes.items())

    def record(self) -> dict[str, Any]:
        """All of it as plain values, for JSON and tables."""
        one = self.quality
        names = [name for name in DayQuality.__slots__ if name != "findings"]
        return {
            **{name: getattr(one, name) for name in names},
            "completeness": one.completeness,
            "score": one.score,
            "since_yesterday": self.changes,
            "findings": [{name: getattr(found, name) for name in Finding.__slots__} for found in one.findings],
        }


def _rest(faulty: int, of: int) -> float:
    return 1.0 - min(faulty / of, 1.0) if of else 1.0
