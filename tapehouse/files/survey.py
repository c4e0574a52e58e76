"""A first pass over a table: how many rows there are, from when to when, and whether they agree with each other.

It reads the times and what names a series alone, so that a file that is cut short or of several markets is known
before anything of it is written. What follows from it is `understanding`'s business.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Final

import numpy as np

from tapehouse.candle import BELIEVABLE_MS, Float64Array, Int64Array
from tapehouse.errors import InputError
from tapehouse.files.arrow import Array, compute
from tapehouse.files.layouts import Layout, Role
from tapehouse.files.tables import Table, reading_table
from tapehouse.files.times import Clock
from tapehouse.timeframe import Timeframe, timeframe_of_seconds, to_ms
from tapehouse.timeframe import timeframe as timeframe_named

# What is the same in all rows of a file of one series.
_SERIES_ROLES: Final[tuple[Role, ...]] = ("exchange", "symbol", "timeframe", "source")
_STEPS_KEPT: Final = 100
# Past these the time from the first to the last of them is taken as one.
_MOST_UNPLACED: Final = 1000
_SHORTEST_MONTH_MS: Final = 28 * 86_400_000


@dataclass(slots=True)
class Survey:
    """What a pass over the rows found.

    Times after `now_ms` are none: a row of one is damaged. `disorder_ms` is how far a row is behind an earlier one
    at most; `steps_ms` counts the differences between rows that follow each other; `unplaced_ms` are the times between
    which lines stand that are no rows, or tell no time; `values` are what the columns say that name a series.
    """

    now_ms: float

    rows: int = 0
    misshapen: int = 0
    first_ms: float = inf
    last_ms: float = -inf
    disorder_ms: float = 0.0
    steps_ms: Counter[float] = field(default_factory=Counter[float])
    unplaced_ms: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    values: dict[Role, set[str]] = field(default_factory=dict[Role, set[str]])

    @property
    def has_times(self) -> bool:
        """Whether any row has a believable time."""
        return self.first_ms <= self.last_ms

    def add_times(self, times_ms: Float64Array, misshapen_at: Sequence[int]) -> None:
        """Take note of the times of more rows, and of how many of these are before each line that is no row."""
        is_known = (times_ms >= BELIEVABLE_MS.start) & (times_ms <= self.now_ms)
        known = times_ms[is_known]
        reached = np.maximum.accumulate(np.append(self.last_ms, known))
        known_before = np.append(0, np.cumsum(is_known))
        self._add_unplaced(np.append(np.flatnonzero(~is_known), misshapen_at), known_before, reached, known)
        if not len(known):
            return
        reached = reached[1:]
        self.disorder_ms = max(self.disorder_ms, float((reached - known).max()))
        steps, counts = np.unique(np.abs(np.diff(known)), return_counts=True)
        self.steps_ms.update(dict(zip(steps.tolist(), counts.tolist(), strict=True)))
        self.steps_ms = Counter(dict(self.steps_ms.most_common(_STEPS_KEPT)))
        self.first_ms = min(self.first_ms, float(known.min()))
        self.last_ms = float(reached[-1])

    def _add_unplaced(
        self, lines: Int64Array, known_before: Int64Array, reached: Float64Array, known: Float64Array
    ) -> None:
        """Take note of between which times those lines stand."""
        if len(known):
            self.unplaced_ms = [(start, float(known[0]) if end == inf else end) for start, end in self.unplaced_ms]
        nexts = np.append(known, inf)
        places = np.unique(known_before[lines.astype(np.int64)])
        self.unplaced_ms += zip(reached[places].tolist(), nexts[places].tolist(), strict=True)
        if len(self.unplaced_ms) > _MOST_UNPLACED:
            starts, ends = zip(*self.unplaced_ms, strict=True)
            self.unplaced_ms = [(min(starts), max(ends))]

    @property
    def usual_step_ms(self) -> float | None:
        """The difference between rows that comes most often, but for none; None where there are no two times."""
        steps = [(count, -step) for step, count in self.steps_ms.items() if step]
        return -max(steps)[1] if steps else None

    @property
    def usual_timeframe(self) -> Timeframe | None:
        """The timeframe whose candles come so far apart, if there is one."""
        step_ms = self.usual_step_ms
        if step_ms is None or step_ms % 1000:
            return None
        if step_ms >= _SHORTEST_MONTH_MS:
            return timeframe_named("1M")
        seconds = int(step_ms) // 1000
        return timeframe_of_seconds(seconds) if seconds == 7 * 86_400 or 86_400 % seconds == 0 else None


def survey_table(table: Table, layout: Layout, clock: Clock) -> Survey:
    """Read through the table; raises InputError where it can't be read to its end or mixes series."""
    survey = Survey(now_ms=to_ms(datetime.now(UTC)))
    roles: list[Role] = ["time", *(role for role in _SERIES_ROLES if role in layout.columns)]
    columns = {role: layout.columns[role] for role in roles}
    with reading_table(table.path):
        for batch in table.batches(list(dict.fromkeys(columns.values()))):
            survey.rows += len(batch.rows)
            survey.misshapen += len(batch.misshapen)
            misshapen_at = [before for before, _ in batch.misshapen]
            survey.add_times(clock.read(batch.rows.column(columns["time"])), misshapen_at)
            for role in roles[1:]:
                survey.values.setdefault(role, set()).update(_words(batch.rows.column(columns[role])))
                _require_few(table, columns[role], role, survey.values[role])
    return survey


def _words(column: Array) -> list[str]:
    return [str(word) for word in compute.unique(column).to_pylist() if word is not None]


def _require_few(table: Table, column: str, role: Role, words: set[str]) -> None:
    if len(words) > 1 and role != "source":
        some = ", ".join(sorted(words)[:3])
        raise InputError(
            f"{table.path.name} mixes series, its column {column} holds {some}: divide it into a file each."
        )
