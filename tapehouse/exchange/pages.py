"""Walking a time range page by page, and checking every page against what was asked.

A walk knows no ccxt: it is given a function that asks. What single rows hold is not judged
here (`tapehouse.validate` does), only which part of the time line a page is an answer for.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.exchange.habits import Habits
from tapehouse.timeframe import Timeframe, from_ms, to_ms

Window = tuple[datetime, datetime]
Refusal = tuple[datetime, datetime, str]
# The rows for the candles that open in [start, end), at most that many; an end of None is "as they come".
Ask = Callable[[datetime, datetime | None, int], Awaitable[list[object]]]

BEYOND_HISTORY: Final = "beyond_exchange_history"
# A number outside these years is another unit, or rubbish: such a row is passed on to be rejected.
_BELIEVABLE_MS: Final = range(to_ms(datetime(2000, 1, 1, tzinfo=UTC)), to_ms(datetime(2100, 1, 1, tzinfo=UTC)))


@dataclass(frozen=True, slots=True, eq=False)
class CandlePage:
    """Rows `[ms, open, high, low, close, volume]` as received, and the windows they are an answer for.

    `answered` and `refused` are half-open, in UTC, and don't overlap; a refused window is one
    whose candles the exchange can't give, with the cause.
    """

    rows: list[object]
    answered: list[Window]
    refused: list[Refusal]


@dataclass(frozen=True, slots=True)
class CandleWalk:
    """A walk through the candles that open in [start, end) and are closed, as `closed_until` says."""

    ask: Ask
    timeframe: Timeframe
    habits: Habits
    page_limit: int
    start: datetime
    end: datetime
    closed_until: datetime

    async def pages(self, *, newest_first: bool) -> AsyncIterator[CandlePage]:
        """Pages whose windows together are [start, end) up to `closed_until`; advances by these, never by the rows."""
        oldest, newest = self.start, min(self.end, self.closed_until)
        while oldest < newest:
            first, last = self._next_window(oldest, newest, newest_first=newest_first)
            page = await self._page(oldest, first, last, newest)
            yield page
            done: list[Window] = [*page.answered, *((start, end) for start, end, _ in page.refused)]
            if newest_first:
                newest = min(start for start, _ in done)
            else:
                oldest = max(end for _, end in done)

    def _next_window(self, oldest: datetime, newest: datetime, *, newest_first: bool) -> Window:
        if self.habits.recent_only:
            return oldest, newest
        if newest_first:
            return max(oldest, _shifted(self.timeframe, self.timeframe.ceil(newest), -self.page_limit)), newest
        return oldest, min(newest, _shifted(self.timeframe, self.timeframe.ceil(oldest), self.page_limit))

    async def _page(self, oldest: datetime, first: datetime, last: datetime, newest: datetime) -> CandlePage:
        """The page for [first, last); its windows reach on to `oldest` or `newest` where nothing lies between."""
        if self.timeframe.count(first, last) == 0:
            return CandlePage([], [(first, last)], [])
        begin = max(first, self._kept_from()) if self.habits.recent_only else first
        received = await self._asked(begin, last) if begin < last else []
        begin = self._shown_start(received, begin, last)
        refused = [(oldest, min(begin, newest), BEYOND_HISTORY)] if begin > first else []
        if begin >= last:
            return CandlePage([], [], refused)
        rows = _inside(received, begin, last)
        if not rows and self.habits.skips_ahead:
            resumed = await self._first_open(oldest)
            if resumed is not None and resumed >= last:
                return CandlePage([], [(oldest, min(resumed, newest))], [])
        if not self.habits.leaves_out_empty:
            await self._ask_for_missing(rows, begin, last)
        return CandlePage(rows, [(begin, last)], refused)

    async def _asked(self, first: datetime, last: datetime) -> list[object]:
        until = None if self.habits.recent_only else last
        return await self.ask(first, until, self.timeframe.count(first, last))

    def _kept_from(self) -> datetime:
        """The oldest candle that an exchange still has which keeps only the recent ones."""
        return _shifted(self.timeframe, self.closed_until, -self.page_limit)

    def _shown_start(self, received: Sequence[object], begin: datetime, last: datetime) -> datetime:
        """Where candles begin, if a full page shows that they begin later than asked; else `begin`."""
        times_ms = _times_ms(received)
        if not times_ms:
            return begin
        shown = self.timeframe.floor(from_ms(min(times_ms)))
        asked = self.page_limit if self.habits.recent_only else self.timeframe.count(begin, last)
        is_late = shown > self.timeframe.ceil(begin)
        return shown if is_late and len(times_ms) >= asked else begin

    async def _first_open(self, start: datetime) -> datetime | None:
        """The open time of the first candle there is from `start` on, as one request tells."""
        times_ms = _times_ms(await self.ask(start, None, 1))
        return self.timeframe.floor(from_ms(min(times_ms))) if times_ms else None

    async def _ask_for_missing(self, rows: list[object], first: datetime, last: datetime) -> None:
        """Ask once more for what is missing, and again as long as that brings anything new."""
        known_ms = _times_ms(rows)
        while (missing := self._missing(known_ms, first, last)) is not None:
            more = _inside(await self._asked(*missing), first, last)
            fresh_ms = _times_ms(more) - known_ms
            if not fresh_ms:
                return
            rows += more
            known_ms |= fresh_ms

    def _missing(self, known_ms: Iterable[int], first: datetime, last: datetime) -> Window | None:
        """From the first to the last candle without a row."""
        missing_ms = np.setdiff1d(self._opens_ms(first, last), np.fromiter(known_ms, dtype=np.int64))
        if len(missing_ms) == 0:
            return None
        return from_ms(int(missing_ms[0])), self.timeframe.close(from_ms(int(missing_ms[-1])))

    def _opens_ms(self, first: datetime, last: datetime) -> Int64Array:
        opened, stop = self.timeframe.ceil(first), self.timeframe.ceil(last)
        if not self.timeframe.is_monthly:
            return np.arange(to_ms(opened), to_ms(stop), self.timeframe.ms)
        count = self.timeframe.count(opened, stop)
        return np.array([to_ms(_shifted(self.timeframe, opened, months)) for months in range(count)], dtype=np.int64)


def _shifted(timeframe: Timeframe, opened: datetime, bars: int) -> datetime:
    """The open time that many candles later, or earlier."""
    if not timeframe.is_monthly:
        return opened + bars * timeframe.length
    years, month = divmod(opened.month - 1 + bars, 12)
    return opened.replace(year=opened.year + years, month=month + 1)


def _times_ms(rows: Iterable[object]) -> set[int]:
    return {time_ms for row in rows if (time_ms := time_of(row)) is not None}


def _inside(rows: Iterable[object], first: datetime, last: datetime) -> list[object]:
    """The rows that open in [first, last), and those that don't tell when."""
    window = range(to_ms(first), to_ms(last))
    return [row for row in rows if (time_ms := time_of(row)) is None or time_ms in window]


def time_of(row: object) -> int | None:
    """The open time of a row in milliseconds, None where it has none that a candle could have."""
    if not isinstance(row, list | tuple) or not row:
        return None
    time_ms = cast("Sequence[object]", row)[0]
    if isinstance(time_ms, float) and time_ms.is_integer():
        time_ms = int(time_ms)
    if isinstance(time_ms, bool) or not isinstance(time_ms, int) or time_ms not in _BELIEVABLE_MS:
        return None
    return time_ms
