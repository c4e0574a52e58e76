"""What of one instrument belongs to one moment: which frames, how long each is, and from when on rows are needed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, cast

from tapehouse.errors import InputError
from tapehouse.indicators import Indicator, indicator
from tapehouse.query.plan import MINUTE, SECOND
from tapehouse.query.question import checked_depth
from tapehouse.ranges import TimeRange
from tapehouse.timeframe import Timeframe
from tapehouse.timeframe import timeframe as timeframe_named

LADDER: Final = tuple(timeframe_named(name) for name in ("1s", "1m", "5m", "15m", "1h", "4h", "1d"))
# Of each timeframe there are at least so many bars, however short the context is.
LEAST_BARS: Final = 60
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Spec:
    """What is asked about each moment.

    `context` is how far trades, order books and imbalances reach back; of candles there are as many bars as fit in
    it, and at least LEAST_BARS. `forming` are the timeframes whose bar that has not closed yet is wanted too.
    """

    context: timedelta
    depth: int
    indicators: tuple[Indicator, ...]
    as_known: bool
    forming: tuple[Timeframe, ...] = ()

    def bars(self, timeframe: Timeframe) -> int:
        """How many bars of a timeframe there are."""
        return max(LEAST_BARS, -(-self.context // timeframe.length))

    def window(self, timeframe: Timeframe, at: datetime) -> TimeRange:
        """The bars of a moment: all have closed by then."""
        stop = timeframe.floor(at)
        return stop - self.bars(timeframe) * timeframe.length, stop

    def ticks_since(self, at: datetime) -> datetime:
        """From when on the trades of a moment are needed, also those that its candles of 1 s are built from."""
        return min(at - self.context, self.window(SECOND, at)[0])

    def minutes_since(self, at: datetime) -> datetime:
        """From when on the 1m candles of a moment are needed as such, not to build longer ones from."""
        first = self.window(MINUTE, at)[0]
        warm_up = [one.since(MINUTE, first) for one in self.indicators]
        return min([first, *warm_up, *(one.floor(at) for one in self.forming)])


def forming_spec(timeframe: Timeframe) -> Spec:
    """The spec for the bar of a timeframe that has not closed yet."""
    return Spec(_SHORTEST, 1, (), as_known=False, forming=(timeframe,))


def moment_spec(
    context_window_minutes: float, depth: int, indicators: Sequence[str], *, as_known: bool, include_forming: bool
) -> Spec:
    """The spec for what a user asks; raises InputError."""
    context, names = _checked_context(context_window_minutes), _checked_names(indicators)
    return _spec(context, checked_depth(depth), names, bool(as_known), bool(include_forming))


# A bot asks the same again and again.
@lru_cache
def _spec(context: timedelta, depth: int, indicators: tuple[str, ...], as_known: bool, include_forming: bool) -> Spec:
    forming = LADDER if include_forming else ()
    return Spec(context, depth, tuple(dict.fromkeys(map(indicator, indicators))), as_known, forming)


def _checked_context(minutes: float) -> timedelta:
    try:
        context = timedelta(minutes=minutes)
    except (TypeError, ValueError, OverflowError):
        context = timedelta(0)
    if not _SHORTEST <= context <= _LONGEST:
        raise InputError(f"{minutes!r} is no context window: pass minutes, from 1 second to 1 day (1440).")
    return context


def _checked_names(indicators: Sequence[str]) -> tuple[str, ...]:
    if isinstance(indicators, str):
        raise InputError(f"Indicators are a list of names: pass [{indicators!r}].")
    is_list = isinstance(indicators, Iterable)  # pyright: ignore[reportUnnecessaryIsInstance] -- notebooks are not type-checked
    names = tuple(indicators) if is_list else (None,)
    if not all(isinstance(one, str) for one in names):
        raise InputError(f"{indicators!r} is no list of indicators: pass their names, as ['ema_20', 'rsi_14'], or [].")
    return cast("tuple[str, ...]", names)
