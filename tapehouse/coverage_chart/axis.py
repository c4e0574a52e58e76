"""The time axis: where its ticks are, and what they say."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final

from tapehouse.timeframe import EPOCH, from_us, to_us

Tick = tuple[int, str]

_STEPS: Final = (
    *(timedelta(minutes=count) for count in (1, 2, 5, 10, 30)),
    *(timedelta(hours=count) for count in (1, 2, 3, 6, 12)),
    *(timedelta(days=count) for count in (1, 2, 4, 7, 14)),
)
# The months of the steps from one month to a hundred years.
_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60, 120, 300, 600, 1200)
_AVERAGE_MONTH: Final = timedelta(days=30.436875)


def ticks(start_us: int, end_us: int, *, most: int) -> list[Tick]:
    """At most that many ticks of a window, at round times: microseconds since 1970 UTC, and a text."""
    start, end = from_us(start_us), from_us(end_us)
    for step in _STEPS:
        if (end - start) / step <= most - 1:
            return [(to_us(time), _text(time, step)) for time in _every(step, start, end)]
    months = next((count for count in _MONTHS if (end - start) / (count * _AVERAGE_MONTH) <= most - 1), _MONTHS[-1])
    form = "%Y" if months >= 12 else "%Y-%m"
    return [(to_us(time), f"{time:{form}}") for time in _every_months(months, start, end)]


def _every(step: timedelta, start: datetime, end: datetime) -> Iterator[datetime]:
    time = start + (EPOCH - start) % step
    while time <= end:
        yield time
        time += step


def _every_months(months: int, start: datetime, end: datetime) -> Iterator[datetime]:
    first = -(-(start.year * 12 + start.month - 1) // months)
    times = (
        datetime(number * months // 12, number * months % 12 + 1, 1, tzinfo=UTC)
        for number in range(first, (end.year * 12 + 12) // months + 1)
    )
    for time in takewhile(lambda time: time <= end, times):
        if time >= start:
            yield time


def _text(time: datetime, step: timedelta) -> str:
    if step >= timedelta(days=1):
        return f"{time:%Y-%m-%d}"
    return f"{time:%m-%d %H:%M}"
