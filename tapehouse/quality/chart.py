"""Scores of many days as lines of text: one a series, a block a day."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from tapehouse.quality.day import DayQuality

# What a day must reach for each block: good days differ in hundredths, bad ones in tens.
BLOCKS: Final = ((100.0, "█"), (99.9, "▇"), (99.0, "▆"), (98.0, "▅"), (95.0, "▄"), (90.0, "▃"), (75.0, "▂"), (0.0, "▁"))
_NO_REPORT: Final = "·"
_DAY: Final = timedelta(days=1)


def score_lines(days: Sequence[DayQuality]) -> list[str]:
    """A line a series, from the first to the last of all days: its name, a block a day, and its latest score.

    `days` come by series and day, as `read_quality` gives them.
    """
    if not days:
        return []
    first, last = min(one.day for one in days), max(one.day for one in days)
    width = max(len(one.name) for one in days)
    lines: list[str] = []
    for name, of_series in groupby(days, key=lambda one: one.name):
        scores = {one.day: one.score for one in of_series}
        blocks = "".join(_block(scores.get(day)) for day in _days(first, last))
        lines.append(f"{name:<{width}}  {blocks}  {scores[max(scores)]:6.2f}")
    return lines


def _block(score: float | None) -> str:
    return _NO_REPORT if score is None else next(block for least, block in BLOCKS if score >= least)


def _days(first: datetime, last: datetime) -> Iterator[datetime]:
    while first <= last:
        yield first
        first += _DAY
