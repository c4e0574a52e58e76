"""The search for an exchange's first candle of a market, in few requests and without believing any single one.

It knows no ccxt: it is given a function that asks. What follows from where a series begins is not decided here.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from tapehouse.errors import PermanentError
from tapehouse.exchange.habits import Habits
from tapehouse.exchange.rows import NO_TIME, times_of
from tapehouse.timeframe import Timeframe, from_ms, to_ms

# The rows for the candles of that length that open in [start, end), at most so many; an end of None is "as they come".
AskFor = Callable[[Timeframe, datetime, datetime | None, int], Awaitable[list[object]]]

# Bitcoin's first block: no exchange has anything from before.
_EARLIEST: Final = datetime(2009, 1, 3, tzinfo=UTC)
_LONGEST_MONTH: Final = timedelta(days=31)
# So often a found beginning may turn out not to be one before the search gives up.
_CONFIRMATIONS: Final = 5
# What a search finds empty is never asked for again, so no single empty answer is believed. Where a start skips
# ahead an answer with a candle has led there, and an empty one only agrees with it.
_EMPTY_ANSWERS: Final = 2
_EMPTY_ANSWERS_IF_LED: Final = 1


@dataclass(frozen=True, slots=True)
class FirstCandleSearch:
    """A search for the first candle of a length; `longer` are the exchange's longer ones, shortest first.

    `page_limit` is the most candles of a length that one request brings.
    """

    ask: AskFor
    timeframe: Timeframe
    longer: Sequence[Timeframe]
    habits: Habits
    page_limit: Callable[[Timeframe], int]
    now: datetime

    async def first_open(self) -> datetime | None:
        """The open time of the first candle; None where the exchange does not tell, or contradicts itself."""
        if self.habits.recent_only:
            return None
        if not self.habits.skips_ahead:
            return await self._narrowed_down()
        first = await self._earliest(self.timeframe, _EARLIEST, None, 1)
        return None if first is None else await self._confirmed(self.timeframe, self.timeframe.floor(first))

    async def _narrowed_down(self) -> datetime | None:
        """The first candle, sought in the longest timeframe, then in shorter ones within the candle found."""
        length, first = await self._first_of_longest()
        while first is not None and length > self.timeframe:
            end = first + (_LONGEST_MONTH if length.is_monthly else length.length)
            length = self._next_shorter(length, first, end)
            # The longer candle has its trades somewhere in here; where not, shorter ones don't go back so far.
            first = await self._walked(length, first, end)
            if first is not None:
                first = await self._confirmed(length, length.floor(first))
        return first

    async def _first_of_longest(self) -> tuple[Timeframe, datetime | None]:
        """The longest timeframe that the exchange does not refuse, and its first candle.

        Its pages are taken one by one from the oldest on: halving would be fooled by a market that
        was closed for years.
        """
        for length in reversed(self.longer):
            try:
                first = await self._walked(length, _EARLIEST, self.now)
            except PermanentError:
                continue
            return length, None if first is None else await self._confirmed(length, length.floor(first))
        return self.timeframe, None

    def _next_shorter(self, length: Timeframe, start: datetime, end: datetime) -> Timeframe:
        """The shortest timeframe of which one page holds all of [start, end), else the next shorter one."""
        shorter = [one for one in (self.timeframe, *self.longer) if one < length]
        fitting = (one for one in shorter if one.count(start, end) <= self.page_limit(one))
        return next(fitting, shorter[-1])

    async def _walked(self, length: Timeframe, start: datetime, end: datetime) -> datetime | None:
        """The first candle that opens in [start, end), page by page from the oldest on."""
        limit = self.page_limit(length)
        while start < end:
            page_end = min(end, length.shift(length.ceil(start), limit))
            if (first := await self._earliest(length, start, page_end, limit)) is not None:
                return first
            start = page_end
        return None

    async def _confirmed(self, length: Timeframe, first: datetime) -> datetime | None:
        """The same time once the page before it has come without a candle, or what that page begins with."""
        limit = self.page_limit(length)
        for _ in range(_CONFIRMATIONS):
            start = max(_EARLIEST, first - limit * length.length)
            if start >= first or (earlier := await self._earliest(length, start, first, limit)) is None:
                return first
            first = earlier
        return None

    async def _earliest(self, length: Timeframe, start: datetime, end: datetime | None, limit: int) -> datetime | None:
        """The earliest time told by rows that were asked for with these; None once none came so often."""
        for _ in range(_EMPTY_ANSWERS_IF_LED if self.habits.skips_ahead else _EMPTY_ANSWERS):
            times_ms = times_of(await self.ask(length, start, end, limit))
            is_asked = (times_ms != NO_TIME) & (times_ms >= to_ms(start)) & (times_ms < to_ms(end or self.now))
            if is_asked.any():
                return from_ms(int(times_ms[is_asked].min()))
        return None
