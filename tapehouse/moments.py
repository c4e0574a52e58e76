"""Points in time and lengths of it as people write and read them: `7d` ago, a date, an ISO 8601 time; `90s`.

What may be before what, and what a missing one stands for, is up to those who ask for them.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from tapehouse.errors import InputError, NaiveDatetime

_AGO: Final = re.compile(r"([0-9]{1,6})([mhdw])")
_LENGTH: Final = re.compile(r"(?:[0-9]{1,6}(?:ms|s|m|h))+")
_LENGTH_PART: Final = re.compile(r"([0-9]+)(ms|s|m|h)")
_LENGTH_UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours"}
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_HOW: Final = "write 30m, 12h, 7d or 2w for that long ago, 2025-05-01 for midnight UTC, or 2025-05-01T12:30:00Z."


def moment(text: str, *, now: datetime) -> datetime:
    """The point in time that the text means, in UTC.

    A bare date is midnight UTC, as days are UTC days throughout; a time of day needs its zone.
    Raises InputError for anything else, NaiveDatetime for a time of day without a zone.
    """
    if (ago := _AGO.fullmatch(text)) is not None:
        return _before(now, timedelta(**{_UNITS[ago[2]]: int(ago[1])}), text)
    try:
        return datetime.combine(date.fromisoformat(text), time(), tzinfo=UTC)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is no time: {_HOW}") from None
    if parsed.tzinfo is None:
        raise NaiveDatetime(f"{text} has no time zone: write {text}Z for UTC, or another offset such as {text}+02:00.")
    return parsed.astimezone(UTC)


def duration(text: str) -> timedelta:
    """The length of time that the text means: 500ms, 1s, 5m, 1h, or several after each other as in 4m30s.

    Raises InputError for anything else.
    """
    if _LENGTH.fullmatch(text) is None:
        raise InputError(f"{text!r} is no length of time: write 500ms, 1s, 5m, 1h or 4m30s.")
    parts = _LENGTH_PART.findall(text)
    return sum((timedelta(**{_LENGTH_UNITS[unit]: int(count)}) for count, unit in parts), timedelta())


def span_text(length: timedelta) -> str:
    """A length of time for people: its two largest units, as in `3d 4h`."""
    ms = length // timedelta(milliseconds=1)
    parts: list[str] = []
    for unit, size_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, ms = divmod(ms, size_ms)
        if count and len(parts) < 2:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return " ".join(parts) or "0s"


def _before(now: datetime, span: timedelta, text: str) -> datetime:
    try:
        return now - span
    except OverflowError:
        raise InputError(f"{text!r} is longer ago than there are dates: {_HOW}") from None
