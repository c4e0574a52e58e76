"""Walking a time range page by page, and checking every page against what was asked.

A walk knows no ccxt: it is given a function that asks. What single rows hold is not judged
here (`tapehouse.validate` does), only which part of the time line a page is an answer for.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from tapehouse.candle import Int64Array
from tapehouse.exchange.habits import Habits
from tapehouse.exchange.rows import NO_TIME, chosen, times_of
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.timeframe import Timeframe, from_ms, to_ms

# The rows for the candles that open in [start, end), at most that many; an end of None is "as they come".
Ask = Callable[[datetime, datetime | None, int], Awaitable[list[object]]]

BEYOND_HISTORY: Final = "beyond_exchange_history"


@dataclass(frozen=True, slots=True, eq=False)
class CandlePage:
    """Rows `[ms, open, high, low, close, volume]` as received, and the windows they are an answer for.

    `answered` and `refused` are half-open, in UTC, and don't overlap.
    """

    rows: list[object]
    answered: list[TimeRange]
    refused: list[Unavailable]


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

    async def pages(self) -> AsyncIterator[CandlePage]:
        """Pages, oldest first, whose windows together are [start, end) up to `closed_until`.

        The walk advances by these windows, never by the rows.
        """
        oldest, newest = self.start, min(self.end, self.closed_until)
        while oldest < newest:
            page = await self._page(oldest, self._page_end(oldest, newest), newest)
            yield page
            oldest = max([*(end for _, end in page.answered), *(one.end for one in page.refused)])

    def _page_end(self, oldest: datetime, newest: datetime) -> datetime:
        if self.habits.recent_only:
            return newest
        return min(newest, self.timeframe.shift(self.timeframe.ceil(oldest), self.page_limit))

    async def _page(self, start: datetime, end: datetime, newest: datetime) -> CandlePage:
        """The page for [start, end); its windows reach on to `newest` where nothing lies between."""
        if self.timeframe.count(start, end) == 0:
            return CandlePage([], [(start, end)], [])
        begin = max(start, self._kept_from()) if self.habits.recent_only else start
        received = await self._asked(begin, end) if begin < end else []
        times_ms = times_of(received)
        begin = self._shown_start(times_ms, begin, end)
        refused = [Unavailable(start, min(begin, newest), BEYOND_HISTORY)] if begin > start else []
        if begin >= end:
            return CandlePage([], [], refused)
        rows, times_ms = _inside(received, times_ms, begin, end)
        if not rows and self.habits.skips_ahead:
            resumed = await self._first_open(start)
            if resumed is not None and resumed >= end:
                return CandlePage([], [(start, min(resumed, newest))], [])
        if not self.habits.leaves_out_empty:
            await self._ask_for_missing(rows, times_ms, begin, end)
        return CandlePage(rows, [(begin, end)], refused)

    async def _asked(self, start: datetime, end: datetime) -> list[object]:
        until = None if self.habits.recent_only else end
        return await self.ask(start, until, self.timeframe.count(start, end))

    def _kept_from(self) -> datetime:
        """The oldest candle that an exchange still has which keeps only the recent ones."""
        return self.timeframe.shift(self.closed_until, -self.page_limit)

    def _shown_start(self, times_ms: Int64Array, start: datetime, end: datetime) -> datetime:
        """Where candles begin, if a full page shows that they begin later than asked; else `start`."""
        told_ms = times_ms[times_ms != NO_TIME]
        if len(told_ms) == 0:
            return start
        shown = self.timeframe.floor(from_ms(int(told_ms.min())))
        asked = self.page_limit if self.habits.recent_only else self.timeframe.count(start, end)
        is_late = shown > self.timeframe.ceil(start)
        return shown if is_late and len(np.unique(told_ms)) >= asked else start

    async def _first_open(self, start: datetime) -> datetime | None:
        """The open time of the first candle there is from `start` on, as one request tells."""
        times_ms = times_of(await self.ask(start, None, 1))
        told_ms = times_ms[times_ms != NO_TIME]
        return self.timeframe.floor(from_ms(int(told_ms.min()))) if len(told_ms) else None

    async def _ask_for_missing(self, rows: list[object], known_ms: Int64Array, start: datetime, end: datetime) -> None:
        """Ask once more for what is missing, and again as long as that brings anything new."""
        while (missing := self._missing(known_ms, start, end)) is not None:
            received = await self._asked(*missing)
            more, more_ms = _inside(received, times_of(received), start, end)
            if set(np.setdiff1d(more_ms, known_ms)) <= {NO_TIME}:
                return
            rows += more
            known_ms = np.union1d(known_ms, more_ms)

    def _missing(self, known_ms: Int64Array, start: datetime, end: datetime) -> TimeRange | None:
        """From the first to the last candle without a row."""
        opens_ms = self.timeframe.opens_us(start, end) // 1000
        missing_ms = opens_ms[~np.isin(opens_ms, known_ms)]
        if len(missing_ms) == 0:
            return None
        return from_ms(int(missing_ms[0])), self.timeframe.close(from_ms(int(missing_ms[-1])))


def _inside(
    rows: Sequence[object], times_ms: Int64Array, start: datetime, end: datetime
) -> tuple[list[object], Int64Array]:
    """The rows that open in [start, end) and those that don't tell when, and their open times."""
    is_inside = (times_ms == NO_TIME) | ((times_ms >= to_ms(start)) & (times_ms < to_ms(end)))
    return chosen(rows, is_inside), times_ms[is_inside]
