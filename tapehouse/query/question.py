"""Questions: what was asked about one instrument, and whether it makes sense.

Notebooks are not type-checked, so whatever is asked may be of any type.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from operator import index
from typing import Final, cast

import numpy as np
import pandas as pd

from tapehouse.errors import InputError, UnknownTimeframe
from tapehouse.timeframe import Timeframe, aware_range, aware_utc
from tapehouse.timeframe import timeframe as timeframe_named

MOST_LEVELS: Final = 5000

_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)
# Early enough for whoever means all there is, and late enough to look back from.
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
# Numbers below these, the first that fits, are taken for times since 1970 in that unit.
_UNITS: Final = (("s", 1e11), ("ms", 1e14), ("us", 1e17), ("ns", 9e18))


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: about which instrument, and from when to when; without an end up to now."""

    exchange: str
    symbol: str
    start: datetime
    end: datetime | None


def ask(exchange: str, symbol: str, start: datetime, end: datetime | None) -> Question:
    """The question, its times in UTC.

    Raises NaiveDatetime, ReversedRange, or InputError for what is no name or no time.
    """
    check_market(exchange, symbol)
    start = checked_time(start)
    if end is not None:
        start, end = aware_range(start, checked_time(end))
    return Question(exchange, symbol, start, end)


def ask_at(exchange: str, symbol: str, at: datetime | None) -> Question:
    """The question about a moment, or about now, without any time before it; raises as `ask` does."""
    check_market(exchange, symbol)
    # A window that began earlier would have all that is known of it read and parsed.
    at = _END_OF_TIME if at is None else checked_time(at)
    return Question(exchange, symbol, at, at)


def check_market(exchange: object, symbol: object) -> None:
    """Raise InputError unless both are names."""
    _check_name("exchange", exchange, "binance")
    _check_name("symbol", symbol, "BTC/USDT")


def check_selection(exchange: object, symbol: object = None) -> None:
    """Raise InputError unless both are names, or None for all there are."""
    check_market("binance" if exchange is None else exchange, "BTC/USDT" if symbol is None else symbol)


def checked_timeframe(name: str) -> Timeframe:
    """The timeframe of that name; raises UnknownTimeframe."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] -- see above
        raise UnknownTimeframe(f"{name!r} is no timeframe: pass its name, 1m, 5m, 1h, 4h, 1d, 1w or 1M.")
    return timeframe_named(name)


def checked_time(time: datetime) -> datetime:
    """The time in UTC; raises NaiveDatetime, or InputError for what is no time, or one that nothing is of."""
    given = time
    if isinstance(time, pd.Timestamp):
        # PostgreSQL counts microseconds; nanoseconds are cut off.
        time = time.to_pydatetime(warn=False)
    if time is pd.NaT:
        raise InputError("NaT is no time: leave it out, or pass one, as datetime.now(UTC).")
    if not isinstance(time, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] -- see above
        raise InputError(f"{given!r} is no datetime: pass {_advised_time(given)}.")
    try:
        time = aware_utc(time)
    except OverflowError:
        time = datetime.min.replace(tzinfo=UTC)
    if time < _EARLIEST:
        raise InputError(f"{given.isoformat()} is no time to reckon with: pass one in UTC, from {_EARLIEST.year} on.")
    return time


def each_time(times: Iterable[datetime]) -> Iterator[datetime]:
    """The times, not yet checked, one by one; raises InputError for a single one, or what are none."""
    if isinstance(times, (str, datetime)) or not isinstance(times, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] -- see above
        raise InputError(f"{times!r} is no list of times: pass one, even if it has only one time.")
    return iter(times)


def checked_depth(depth: int) -> int:
    """The number of levels a side; raises InputError unless it is a whole number from 1 to MOST_LEVELS."""
    try:
        levels = 0 if isinstance(depth, bool) else index(depth)
    except TypeError:
        levels = 0
    if not 1 <= levels <= MOST_LEVELS:
        raise InputError(f"{depth!r} is no depth: pass how many levels a side, from 1 to {MOST_LEVELS}.")
    return levels


def _check_name(noun: str, name: object, example: str) -> None:
    if not isinstance(name, str):
        raise InputError(f"{name!r} is no {noun}: pass one by its name, as {example!r}.")


def _advised_time(given: object) -> str:
    """What to pass instead, which works."""
    number = given.item() if isinstance(given, (np.integer, np.floating)) else given
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        unit = next((unit for unit, below in _UNITS if abs(number) < below), None)
        if unit:
            return f"pd.Timestamp({number!r}, unit={unit!r}, tz='UTC')"
    if isinstance(given, (str, date, np.datetime64)):
        text = str(cast("object", given))
        with suppress(ValueError, OverflowError):
            if pd.Timestamp(text, tz="UTC") is not pd.NaT:
                return f"pd.Timestamp({text!r}, tz='UTC')"
    return "a time, as datetime.now(UTC) - timedelta(days=7)"
