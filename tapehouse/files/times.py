"""Times of a file, whatever they are written as: numbers since 1970 in any unit, ISO 8601, timestamps, local times.

A number is never taken for a time before 2000 or after 2100, and in those years its size tells its unit. Local
times are refused unless their zone is told.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd

from tapehouse.candle import BELIEVABLE_MS, Float64Array
from tapehouse.errors import InputError, NaiveDatetime
from tapehouse.files.arrow import Array, compute, pa
from tapehouse.files.cells import numbers
from tapehouse.timeframe import to_ms

TimeUnit = Literal["s", "ms", "us", "ns"]

_MS_PER_UNIT: Final[dict[TimeUnit, float]] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_UNIT_NAMES: Final[dict[TimeUnit, str]] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
_NUMBER: Final = r"^\s*([-+]?[\d.]+([eE][-+]?\d+)?)?\s*$"
_MOST: Final = 0.5
_ZONED: Final = r"(Z|z|[+-]\d\d:?\d\d|[+-]\d\d)$"
_DAY_ALONE: Final = r"^\d{4}-\d\d-\d\d$"
_DAY_MS: Final = 86_400_000


@dataclass(slots=True)
class Clock:
    """How the times of one file are read; `seen` counts what they turned out to be.

    `unit` and `zone` are what the user says of them; `day` is the one that the file's name tells, for numbers
    that count from its midnight, UTC.
    """

    unit: TimeUnit | None = None
    zone: str | None = None
    day: date | None = None
    seen: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        if self.zone is not None:
            _zone(self.zone)

    def read(self, column: Array) -> Float64Array:
        """The times in ms since 1970 UTC, NaN where there is none; raises NaiveDatetime for local times."""
        kind = column.type
        if pa.types.is_dictionary(kind):
            return self.read(column.dictionary_decode())
        if pa.types.is_date(kind):
            return self._counted("days, in UTC", _ms_of_timestamps(compute.cast(column, pa.timestamp("us"))))
        if pa.types.is_timestamp(kind):
            if kind.tz is None:
                return self._local(pd.DatetimeIndex(column.to_pandas()))
            return self._counted("timestamps with their zone", _ms_of_timestamps(column))
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return self._of_texts(column)
        return self._of_numbers(column)

    def _of_numbers(self, column: Array) -> Float64Array:
        if self.zone is not None:
            raise InputError("Times that are numbers count from 1970 in UTC: leave --time-zone out.")
        values = numbers(column)
        if self.day is not None:
            is_of_day = (values >= 0) & (values < _DAY_MS)
            midnight_ms = to_ms(datetime.combine(self.day, time(), tzinfo=UTC))
            return self._counted(
                f"milliseconds since midnight of {self.day}, UTC", np.where(is_of_day, values + midnight_ms, np.nan)
            )
        if self.unit is not None:
            return self._counted(_since_1970(self.unit), _in_ms(column, values, self.unit))
        return self._by_their_size(column, values)

    def _by_their_size(self, column: Array, values: Float64Array) -> Float64Array:
        times_ms = values.copy()
        for unit, ms in _MS_PER_UNIT.items():
            is_of_unit = (values >= BELIEVABLE_MS.start / ms) & (values < BELIEVABLE_MS.stop / ms)
            if is_of_unit.any():
                self.seen[_since_1970(unit)] += int(is_of_unit.sum())
                times_ms[is_of_unit] = _in_ms(column, values, unit)[is_of_unit]
        return times_ms

    def _of_texts(self, column: Array) -> Float64Array:
        # A header that comes again, or a cell that is damaged, does not make texts of numbers.
        if len(column) and _matches(column, _NUMBER).mean() > _MOST:
            return self._of_numbers(_as_numbers(column))
        texts = compute.replace_substring_regex(compute.utf8_trim_whitespace(column), r"\s*UTC$", "+00:00")
        is_zoned = _matches(texts, _ZONED) & ~_matches(texts, _DAY_ALONE)
        is_day = _matches(texts, _DAY_ALONE)
        parsed = pd.to_datetime(
            pd.Series(texts.to_pylist(), dtype="object"), format="ISO8601", errors="coerce", utc=True
        )
        is_time = parsed.notna().to_numpy()
        is_local = is_time & ~is_zoned & ~is_day
        times_ms = _ms_of_index(pd.DatetimeIndex(parsed))
        if is_local.any():
            times_ms[is_local] = self._local(pd.DatetimeIndex(parsed[is_local]).tz_localize(None))
        self._counted("ISO 8601 with its zone", times_ms[is_time & is_zoned])
        self._counted("days, in UTC", times_ms[is_time & is_day])
        return times_ms

    def _local(self, times: pd.DatetimeIndex) -> Float64Array:
        if self.zone is None:
            first = next((one for one in times if one is not pd.NaT), "")
            raise NaiveDatetime(
                f"The times have no time zone, as in {first}: say whose they are, with --time-zone UTC or one "
                "like Europe/Berlin."
            )
        # An hour that a clock shows twice, or never, tells no time: its rows are rejected.
        zoned = times.tz_localize(_zone(self.zone), ambiguous="NaT", nonexistent="NaT")
        return self._counted(f"local times of {self.zone}", _ms_of_index(zoned))

    def _counted(self, what: str, times_ms: Float64Array) -> Float64Array:
        count = int(np.isfinite(times_ms).sum())
        if count:
            self.seen[what] += count
        return times_ms


def require_one_way(clock: Clock, name: str) -> str:
    """How the times were read, in words; raises InputError where that was not the same for all of them."""
    if len(clock.seen) > 1:
        ways = " and ".join(f"{count:,} as {what}" for what, count in clock.seen.most_common())
        raise InputError(
            f"{name} has times written in different ways, {ways}: divide the file, or say which are right with "
            "--time-unit, and the others are rejected."
        )
    return next(iter(clock.seen), "none that can be read")


def time_units() -> tuple[TimeUnit, ...]:
    """The units that numbers since 1970 can be in."""
    return get_args(TimeUnit)


def _since_1970(unit: TimeUnit) -> str:
    return f"{_UNIT_NAMES[unit]} since 1970"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(f"No time zone {name!r}: write UTC or one like Europe/Berlin.") from error


def _in_ms(column: Array, values: Float64Array, unit: TimeUnit) -> Float64Array:
    if unit == "ns" and pa.types.is_integer(column.type) and not column.null_count:
        # float64 holds no nanoseconds since 1970, whole microseconds it does.
        return column.to_numpy(zero_copy_only=False) // 1000 / 1000
    return values / 1000 if unit == "us" else values * _MS_PER_UNIT[unit]


def _as_numbers(column: Array) -> Array:
    try:
        return compute.cast(column, pa.int64())
    except pa.ArrowInvalid:
        return pa.array(numbers(column))


def _matches(texts: Array, pattern: str) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    return compute.match_substring_regex(texts, pattern).fill_null(False).to_numpy(zero_copy_only=False)


def _ms_of_timestamps(column: Array) -> Float64Array:
    times_us = compute.cast(compute.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
    # Where float64 can't hold it, it is no time that anyone means.
    return compute.divide(compute.cast(times_us, pa.float64(), safe=False), 1000.0).to_numpy(zero_copy_only=False)


def _ms_of_index(times: pd.DatetimeIndex) -> Float64Array:
    times_us = times.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]").view(np.int64)
    return np.where(times.isna(), np.nan, times_us / 1000)
