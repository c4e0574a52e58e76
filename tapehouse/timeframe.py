"""Timeframes and their exact arithmetic in UTC: floor, ceiling, close, alignment.

Only time arithmetic belongs here; what a timeframe's candles are derived from is the
planner's business (`tapehouse.query.plan`).
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.errors import NaiveDatetime, ReversedRange, UnknownTimeframe

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# 1970-01-01 was a Thursday; exchanges and TimescaleDB open weeks on Monday.
_MONDAY: Final = EPOCH + timedelta(days=4)
_MICROSECOND: Final = timedelta(microseconds=1)
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAME: Final = re.compile(r"([1-9][0-9]*)([smhdwM])")
# Of a month the nominal length: what the store keeps as the key of the monthly timeframe.
_CALENDAR_SECONDS: Final = {"1w": 7 * 86_400, "1M": 30 * 86_400}

_TimesUs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class Timeframe:
    """A candle's length, `1s` to `1M`; ordered by length.

    `seconds` is exact but for `1M`, where it is the nominal 30 days used as a key.
    """

    seconds: int
    name: str
    length: timedelta = field(init=False, repr=False, compare=False)
    """The (nominal) length."""
    _origin: datetime = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Kept, since all arithmetic on times needs them.
        object.__setattr__(self, "length", timedelta(seconds=self.seconds))
        object.__setattr__(self, "_origin", _MONDAY if self.name.endswith("w") else EPOCH)

    def __str__(self) -> str:
        return self.name

    @property
    def is_monthly(self) -> bool:
        """Whether candles are calendar months, which differ in length."""
        return self.name == "1M"

    @property
    def ms(self) -> int:
        """The (nominal) length in milliseconds."""
        return self.seconds * 1000

    def floor(self, time: datetime) -> datetime:
        """The open time of the candle that holds `time`."""
        time = aware_utc(time)
        if self.is_monthly:
            return time.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return time - (time - self._origin) % self.length

    def ceil(self, time: datetime) -> datetime:
        """The first open time that is not before `time`."""
        opened = self.floor(time)
        return opened if opened == time else self.close(opened)

    def close(self, opened: datetime) -> datetime:
        """The close time (exclusive) of the candle that opens at `opened`."""
        return self.shift(opened, 1)

    def shift(self, opened: datetime, candles: int) -> datetime:
        """The open time that many candles after `opened`, itself an open time; before it where negative."""
        if not self.is_monthly:
            return aware_utc(opened) + candles * self.length
        opened = self.floor(opened)
        years, month = divmod(opened.month - 1 + candles, 12)
        return opened.replace(year=opened.year + years, month=month + 1)

    def count(self, start: datetime, end: datetime) -> int:
        """How many candles open in [start, end)."""
        first, stop = self.ceil(start), self.ceil(end)
        if self.is_monthly:
            return max(0, (stop.year - first.year) * 12 + stop.month - first.month)
        return max(0, (stop - first) // self.length)

    def floor_us(self, times_us: _TimesUs) -> _TimesUs:
        """The open times of the candles that hold those times, all in microseconds since 1970 UTC."""
        if self.is_monthly:
            return _month_starts_us(_months(times_us))
        return times_us - (times_us - to_us(self._origin)) % (self.seconds * 1_000_000)

    def close_us(self, opens_us: _TimesUs) -> _TimesUs:
        """The close times (exclusive) of the candles that open then, all in microseconds since 1970 UTC."""
        if self.is_monthly:
            return _month_starts_us(_months(opens_us) + 1)
        return opens_us + self.seconds * 1_000_000

    def count_us(self, starts_us: _TimesUs, ends_us: _TimesUs) -> _TimesUs:
        """How many candles open in each [start, end), in microseconds since 1970 UTC."""
        first_us, stop_us = self._ceil_us(starts_us), self._ceil_us(ends_us)
        if self.is_monthly:
            candles = (_months(stop_us) - _months(first_us)).astype(np.int64)
        else:
            candles = (stop_us - first_us) // (self.seconds * 1_000_000)
        return np.maximum(candles, 0)

    def opens_us(self, start: datetime, end: datetime) -> _TimesUs:
        """The open times in [start, end), in microseconds since 1970 UTC."""
        first_us, candles = to_us(self.ceil(start)), np.arange(self.count(start, end))
        if self.is_monthly:
            return _month_starts_us(_months(np.array([first_us])) + candles)
        return first_us + candles * (self.seconds * 1_000_000)

    def aligned(self, times_us: _TimesUs) -> npt.NDArray[np.bool_]:
        """Which of the times (microseconds since 1970 UTC) are open times."""
        return self.floor_us(times_us) == times_us

    def _ceil_us(self, times_us: _TimesUs) -> _TimesUs:
        opens_us = self.floor_us(times_us)
        return np.where(opens_us == times_us, opens_us, self.close_us(opens_us))


@cache
def timeframe(name: str) -> Timeframe:
    """The timeframe of that name, as ccxt writes it: `1s`, `5m`, `4h`, `1d`, `1w`, `1M`; `60m` is `1h`.

    Raises UnknownTimeframe where candles of that length would not tile UTC days, weeks
    or months, so that their open times would be a matter of taste.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise UnknownTimeframe(f"No timeframe {name!r}: write 1m, 5m, 1h, 4h, 1d, 1w or 1M.")
    number, unit = int(match[1]), match[2]
    if name in _CALENDAR_SECONDS:
        return Timeframe(_CALENDAR_SECONDS[name], name)
    if unit in _UNIT_SECONDS and 86_400 % (seconds := number * _UNIT_SECONDS[unit]) == 0:
        return timeframe_of_seconds(seconds)
    raise UnknownTimeframe(f"Timeframe {name!r} does not tile a UTC day: use one that does, 1w or 1M.")


def timeframe_or_none(name: str) -> Timeframe | None:
    """The timeframe of that name, None where `timeframe` knows none."""
    try:
        return timeframe(name)
    except UnknownTimeframe:
        return None


@cache
def timeframe_of_seconds(seconds: int) -> Timeframe:
    """The timeframe that the store keeps under that key, by its usual name."""
    for name, calendar_seconds in _CALENDAR_SECONDS.items():
        if seconds == calendar_seconds:
            return Timeframe(seconds, name)
    unit = next(unit for unit, size in reversed(_UNIT_SECONDS.items()) if seconds % size == 0)
    return Timeframe(seconds, f"{seconds // _UNIT_SECONDS[unit]}{unit}")


def aware_utc(time: datetime) -> datetime:
    """The same instant in UTC; raises NaiveDatetime for a datetime without a time zone."""
    if time.tzinfo is UTC:
        return time
    if time.tzinfo is None:
        raise NaiveDatetime(
            f"{time.isoformat()} has no time zone: give it one, as datetime.now(UTC) and .replace(tzinfo=UTC) do, or "
            ".tz_localize('UTC') of pandas."
        )
    return time.astimezone(UTC)


def aware_range(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Both bounds in UTC; raises NaiveDatetime, or ReversedRange unless start < end."""
    start, end = aware_utc(start), aware_utc(end)
    if start == end:
        raise ReversedRange(f"The range starts and ends at {start.isoformat()}, so it is empty: choose a later end.")
    if start > end:
        raise ReversedRange(f"The range starts at {start.isoformat()} and ends at {end.isoformat()}: swap them.")
    return start, end


def to_us(time: datetime) -> int:
    """Microseconds since 1970 UTC, exactly."""
    return (aware_utc(time) - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The UTC time that many microseconds after 1970, exactly."""
    return EPOCH + timedelta(microseconds=us)


def to_ms(time: datetime) -> int:
    """Whole milliseconds since 1970 UTC, rounded down."""
    return to_us(time) // 1000


def from_ms(ms: int) -> datetime:
    """The UTC time that many milliseconds after 1970, exactly."""
    return from_us(ms * 1000)


def _months(times_us: _TimesUs) -> npt.NDArray[np.datetime64]:
    return times_us.view("datetime64[us]").astype("datetime64[M]")


def _month_starts_us(months: npt.NDArray[np.datetime64]) -> _TimesUs:
    return months.astype("datetime64[us]").view(np.int64)
