"""Options of a MarketData, checked when it is connected."""

import math
from datetime import timedelta
from numbers import Real
from typing import Final

from tapehouse.errors import InputError

_LONGEST_HOT_WINDOW: Final = timedelta(days=1)


def checked_url(url: str | None) -> str | None:
    """The URL; raises InputError for what is no text."""
    if not isinstance(url, str | None):  # pyright: ignore[reportUnnecessaryIsInstance] -- notebooks are not type-checked
        raise InputError(f"A {type(url).__name__} is no URL: pass a text, as in postgresql://user@host:5432/database.")
    return url


def checked_cache_mb(cache_mb: float) -> float:
    """The megabytes; raises InputError unless they are a number that is not negative."""
    is_number = isinstance(cache_mb, Real) and not isinstance(cache_mb, bool)  # pyright: ignore[reportUnnecessaryIsInstance] -- see above
    if not is_number or not math.isfinite(cache_mb) or cache_mb < 0:
        raise InputError(f"{cache_mb!r} is no size of a cache: pass cache_mb as a number of megabytes, 0 for no cache.")
    return float(cache_mb)


def checked_hot_window(hot_window: timedelta) -> timedelta:
    """The length; raises InputError unless it is one from 0 to 1 day."""
    is_length = isinstance(hot_window, timedelta)  # pyright: ignore[reportUnnecessaryIsInstance] -- see above
    if not is_length or not timedelta(0) <= hot_window <= _LONGEST_HOT_WINDOW:
        raise InputError(f"{hot_window!r} is no hot window: pass a timedelta from 0 to 1 day, as timedelta(minutes=5).")
    return hot_window
