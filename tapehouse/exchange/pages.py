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
from tapehouse.errors import ExchangeError
from tapehouse.exchange.habits import Habits
from tapehouse.exchange.rows import NO_TIME, chosen, times_of
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.timeframe import Timeframe, from_ms, to_ms

# The rows for the candles that open in [start, end), at most that many; an end of None is "as they come".
Ask = Callable[[datetime, datetime | None, int], Awaitable[list[object]]]

BEYOND_HISTORY: Final = "beyond_exchange_history"
# One answer more is wanted where rows may have been cut off: two in a row that were cut would look like none there.
_FRUITLESS_ANSWERS: Final = 1
_FRUITLESS_ANSWERS_IF_CUT: Final = 2


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

        The walk advances by these windows, never by the rows. An ExchangeError names the window it gave up on.
        """
        oldest, newest = self.start, min(self.end, self.closed_until)
        while oldest < newest:
            page_end = self._page_end(oldest, newest)
            try:
                page = await self._page(oldest, page_end, newest)
            except ExchangeError as error:
                error.window = oldest, page_end
                raise
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
        if self.habits.leaves_out_empty and not received:
            # A row may be missing, but that there is none at all may be a mistake.
            received = await self._asked(begin, end)
        times_ms = times_of(received)
        begin = self._shown_start(times_ms, begin, end)
        refused = [Unavailable(start, min(begin, newest), BEYOND_HISTORY)] if begin > start else []
        if begin >= end:
            return CandlePage([], [], refused)
        rows, known_ms = _inside(received, times_ms, begin, end)
        if self.habits.skips_ahead:
            end = await self._complete_until(rows, known_ms, begin, end, newest)
        elif not self.habits.leaves_out_empty:
            await self._ask_for_missing(rows, known_ms, begin, end)
        return CandlePage(rows, [(begin, end)], refused)

    async def _complete_until(
        self, rows: list[object], known_ms: Int64Array, start: datetime, end: datetime, newest: datetime
    ) -> datetime:
        """Ask for what is missing of [start, end), and where candles go on if the last of it is missing.

        That is until when the rows are complete: up to `newest` where candles never go on.
        """
        if rows:
            known_ms = await self._ask_for_missing(rows, known_ms, start, end)
        quiet_from = self._quiet_from(known_ms, start)
        if quiet_from >= end:
            return end
        resumed = await self._resumed(quiet_from, end, newest)
        if resumed < end:
            await self._ask_for_missing(rows, known_ms, start, end)
            return end
        return min(resumed, newest)

    def _quiet_from(self, known_ms: Int64Array, start: datetime) -> datetime:
        """The close of the last candle that is known, `start` without any."""
        told_ms = known_ms[known_ms != NO_TIME]
        return self.timeframe.close(self.timeframe.floor(from_ms(int(told_ms.max())))) if len(told_ms) else start

    async def _resumed(self, quiet_from: datetime, end: datetime, newest: datetime) -> datetime:
        """Where candles go on; at `newest` if several answers agree that they don't, at once if answers disagree."""
        resumed = await self._first_open(quiet_from) or await self._first_open(quiet_from)
        if resumed is not None:
            return resumed
        return newest if await self._ends_empty(end, newest) else quiet_from

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

    async def _ends_empty(self, end: datetime, newest: datetime) -> bool:
        """Whether the last page between has no rows either."""
        start = max(end, self.timeframe.shift(self.timeframe.floor(newest), 1 - self.page_limit))
        if start >= newest:
            return True
        received = await self._asked(start, newest)
        rows, _ = _inside(received, times_of(received), start, newest)
        return not rows

    async def _ask_for_missing(
        self, rows: list[object], known_ms: Int64Array, start: datetime, end: datetime
    ) -> Int64Array:
        """Ask once more for what is missing, and again as long as that brings anything new; all times then known."""
        fruitless = 0
        while len(missing_ms := self._missing(known_ms, start, end)):
            allowed = _FRUITLESS_ANSWERS_IF_CUT if self._looks_cut(missing_ms, start, end) else _FRUITLESS_ANSWERS
            if fruitless >= allowed:
                break
            first, last = from_ms(int(missing_ms[0])), from_ms(int(missing_ms[-1]))
            received = await self._asked(first, self.timeframe.close(last))
            more, more_ms = _inside(received, times_of(received), start, end)
            if set(np.setdiff1d(more_ms, known_ms)) <= {NO_TIME}:
                fruitless += 1
                continue
            fruitless = 0
            rows += more
            known_ms = np.union1d(known_ms, more_ms)
        return known_ms

    def _missing(self, known_ms: Int64Array, start: datetime, end: datetime) -> Int64Array:
        """The open times of the candles without a row."""
        opens_ms = self.timeframe.opens_us(start, end) // 1000
        return opens_ms[~np.isin(opens_ms, known_ms)]

    def _looks_cut(self, missing_ms: Int64Array, start: datetime, end: datetime) -> bool:
        """Whether the candles without a row are one stretch at an end of the page, and nothing else will tell."""
        first, close = from_ms(int(missing_ms[0])), self.timeframe.close(from_ms(int(missing_ms[-1])))
        is_one = self.timeframe.count(first, close) == len(missing_ms)
        return is_one and (first <= self.timeframe.ceil(start) or (close >= end and not self.habits.skips_ahead))


def _inside(
    rows: Sequence[object], times_ms: Int64Array, start: datetime, end: datetime
) -> tuple[list[object], Int64Array]:
    """The rows that open in [start, end) and those that don't tell when, and their open times."""
    is_inside = (times_ms == NO_TIME) | ((times_ms >= to_ms(start)) & (times_ms < to_ms(end)))
    return chosen(rows, is_inside), times_ms[is_inside]
