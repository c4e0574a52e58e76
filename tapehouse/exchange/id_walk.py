"""Walking through trades by their ids, oldest first, where ids run without holes.

So it is with Binance's aggregate trades and with Coinbase Exchange's; requests are made in `trade_requests`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tapehouse.candle import Int64Array
from tapehouse.exchange.holes import WIDEST_HOLE, Hole
from tapehouse.exchange.id_search import AskById, FirstTrade, IdSearch
from tapehouse.exchange.pages import BEYOND_HISTORY
from tapehouse.exchange.rows import NO_ID, ROWS_THAT_TELL, chosen, ids_of, told_by_id
from tapehouse.exchange.trades import OpenRange, TradePage, asked_twice_if_empty, completed

# Trades with a time in [first, stop) in milliseconds, at most that many, from whichever end of it.
AskBetween = Callable[[int, int, int], Awaitable[list[object]]]

# "If startTime and endTime are sent, time between startTime and endTime must be less than 1 hour":
# https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Compressed-Aggregate-Trades-List
_WINDOW_MS: Final = 3_600_000
# Ids are counted from 0 or 1, so a market whose first trade has another has forgotten some.
_FIRST_ID: Final = 1


@dataclass(frozen=True, slots=True)
class IdWalk:
    """A walk through the trades in [start, end), which is over by the exchange's clock.

    `ask_between` is None where trades can't be asked for by time.
    """

    ask: AskById
    ask_between: AskBetween | None
    page_limit: int
    start: datetime
    end: datetime

    async def pages(self) -> AsyncIterator[TradePage]:
        """Pages, oldest first, whose windows together are the range."""
        open_range = OpenRange(self.start, self.end)
        first = await self._first_trade(open_range)
        if first is None:
            yield open_range.answer_all()
            return
        if first.trade_id > _FIRST_ID and not first.follows_another and first.time_ms > open_range.first_ms:
            yield open_range.refuse(open_range.first_ms, min(first.time_ms, open_range.stop_ms), BEYOND_HISTORY)
        async for page in self._pages_from(first.trade_id, open_range):
            yield page

    async def _pages_from(self, next_id: int, open_range: OpenRange) -> AsyncIterator[TradePage]:
        was_empty = False
        while not open_range.is_done:
            rows = await self._page(next_id, open_range)
            for page in open_range.late_pages(rows):
                yield page
            open_range.take(rows)
            ids, times_ms = _told_near(rows, next_id)
            reached_ms = int(times_ms[-ROWS_THAT_TELL:].min(initial=open_range.stop_ms))
            if reached_ms >= open_range.stop_ms and (len(ids) > 0 or was_empty):
                yield open_range.answer_all()
                return
            was_empty = len(ids) == 0
            if was_empty:
                continue
            if reached_ms > open_range.first_ms:
                yield open_range.answer(open_range.first_ms, reached_ms)
            next_id = int(ids[times_ms < open_range.stop_ms].max()) + 1

    async def _page(self, first_id: int, open_range: OpenRange) -> list[object]:
        """The trades from that id on, those without an id included; what is left out is asked for again."""

        async def ask_for(missing: Hole, _: Sequence[object]) -> list[object]:
            return await self.ask(missing[0], min(self.page_limit, missing[1] - missing[0]))

        asked = await self.ask(first_id, self.page_limit)
        rows = await completed(asked, open_range, ask_for, after=first_id - 1)
        ids = ids_of(rows)
        return chosen(rows, (ids >= first_id) | (ids == NO_ID))

    async def _first_trade(self, open_range: OpenRange) -> FirstTrade | None:
        """The first trade in the range or after it; None if none has happened since the range began."""
        search = IdSearch(self.ask, self.page_limit, open_range.first_ms)
        ask_between, first_ms = self.ask_between, open_range.first_ms
        if ask_between is None:
            return await self._first_before_now(search)
        stop_ms = min(open_range.stop_ms, first_ms + _WINDOW_MS)
        search.note(await asked_twice_if_empty(lambda: ask_between(first_ms, stop_ms, self.page_limit)))
        if search.has_found:
            return await search.first()
        if stop_ms == open_range.stop_ms:
            return None
        # Most often the range begins before the market does.
        oldest = await asked_twice_if_empty(lambda: self.ask(0, 1))
        ids, times_ms = told_by_id(oldest)
        if len(ids) and times_ms[0] >= first_ms:
            return FirstTrade(int(ids[0]), int(times_ms[0]), follows_another=False)
        search.note(oldest)
        return await self._first_before_now(search)

    async def _first_before_now(self, search: IdSearch) -> FirstTrade | None:
        search.note(await asked_twice_if_empty(lambda: self.ask(None, self.page_limit)))
        return await search.first()


def _told_near(rows: Sequence[object], first_id: int) -> tuple[Int64Array, Int64Array]:
    """Ids in order and their times; a single id out of all proportion must not lead the walk astray."""
    ids, times_ms = told_by_id(rows)
    is_near = ids <= first_id + WIDEST_HOLE
    return (ids[is_near], times_ms[is_near]) if is_near.any() else (ids, times_ms)
