"""Questions: what was asked about one instrument, and whether it makes sense."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from tapehouse.errors import InputError
from tapehouse.timeframe import aware_range, aware_utc

MOST_LEVELS: Final = 5000

_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: about which instrument, and from when to when; without an end up to now."""

    exchange: str
    symbol: str
    start: datetime
    end: datetime | None


def ask(exchange: str, symbol: str, start: datetime, end: datetime | None) -> Question:
    """The question, its times in UTC; raises NaiveDatetime, ReversedRange, or InputError for what is no time."""
    start = checked_time(start)
    if end is not None:
        start, end = aware_range(start, checked_time(end))
    return Question(exchange, symbol, start, end)


def ask_at(exchange: str, symbol: str, at: datetime | None) -> Question:
    """The question about a moment, or about now, without any time before it; raises as `ask` does."""
    # A window that began earlier would have all that is known of it read and parsed.
    at = _END_OF_TIME if at is None else checked_time(at)
    return Question(exchange, symbol, at, at)


def checked_time(time: datetime) -> datetime:
    """The time in UTC; raises NaiveDatetime, or InputError for what is no time."""
    if isinstance(time, pd.Timestamp):
        # PostgreSQL counts microseconds; nanoseconds are cut off.
        time = time.to_pydatetime(warn=False)
    if not isinstance(time, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] -- notebooks are not type-checked
        raise InputError(f"{time!r} is no datetime: pass pd.Timestamp({str(time)!r}, tz='UTC').")
    return aware_utc(time)


def checked_depth(depth: int) -> int:
    """The number of levels a side; raises InputError unless it is a whole number from 1 to MOST_LEVELS."""
    is_whole = isinstance(depth, int) and not isinstance(depth, bool)  # pyright: ignore[reportUnnecessaryIsInstance] -- notebooks are not type-checked
    if not is_whole or not 1 <= depth <= MOST_LEVELS:
        raise InputError(f"{depth!r} is no depth: pass how many levels a side, from 1 to {MOST_LEVELS}.")
    return depth
