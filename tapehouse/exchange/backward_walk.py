"""Walking through trades newest first by whole seconds, as Coinbase has it; requests are in `trade_requests`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tapehouse.candle import BELIEVABLE_MS
from tapehouse.exchange.holes import Hole
from tapehouse.exchange.rows import kth_oldest_ms, times_of, told_by_id
from tapehouse.exchange.trades import MORE_THAN_A_PAGE, OpenRange, TradePage, asked_twice_if_empty, completed

# The newest trades with a time in [first, stop) in milliseconds, at most so many; older and newer ones of
# the same seconds may come with them.
AskWindow = Callable[[int, int, int], Awaitable[list[object]]]

_SECOND_MS: Final = 1000
_ASKED_BEFORE_MS: Final = 3_600_000
# Ids are counted from 1.
_FIRST_ID: Final = 1
_NO_ID_AS_HIGH: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BackwardWalk:
    """A walk through the trades in [start, end), which is over by the exchange's clock.

    A page may end within a second, so the next one begins with that second again.
    """

    ask: AskWindow
    page_limit: int
    start: datetime
    end: datetime

    async def pages(self) -> AsyncIterator[TradePage]:
        """Pages, newest first, whose windows together are the range."""
        open_range = OpenRange(self.start, self.end)
        below_ms = open_range.stop_ms
        is_quiet = False
        while not open_range.is_done:
            rows = await self._page(below_ms, open_range)
            open_range.take(rows)
            oldest_ms = kth_oldest_ms(times_of(rows))
            if oldest_ms is None and not is_quiet:
                is_quiet = True
                continue
            if oldest_ms is None or oldest_ms < open_range.first_ms:
                yield open_range.answer_all()
                return
            second_ms = min(oldest_ms, below_ms - 1) // _SECOND_MS * _SECOND_MS
            if second_ms + _SECOND_MS < below_ms:
                if oldest_ms + 1 < open_range.stop_ms:
                    yield open_range.answer(oldest_ms + 1, open_range.stop_ms)
                below_ms = second_ms + _SECOND_MS
                continue
            first_ms = max(second_ms, open_range.first_ms)
            if await self._is_cut(rows, second_ms):
                # There is no asking for less than one.
                yield open_range.refuse(first_ms, open_range.stop_ms, MORE_THAN_A_PAGE)
            else:
                yield open_range.answer(first_ms, open_range.stop_ms)
            below_ms = second_ms

    async def _page(self, below_ms: int, open_range: OpenRange) -> list[object]:
        """The newest trades below that time; what ids, those of waiting rows included, leave out is asked for again.

        A trade before the range shows that all of the range was there, so some are asked for too.
        """

        async def ask_for(missing: Hole, known: Sequence[object]) -> list[object]:
            ids, times_ms = told_by_id(known)
            before_ms, after_ms = int(times_ms[ids < missing[0]][-1]), int(times_ms[ids >= missing[1]][0])
            return await self.ask(before_ms, after_ms + 1, self.page_limit)

        rows = await self.ask(open_range.first_ms - _ASKED_BEFORE_MS, below_ms, self.page_limit)
        return await completed(rows, open_range, ask_for)

    async def _is_cut(self, rows: list[object], second_ms: int) -> bool:
        """Whether a page that hardly goes beyond one second left trades of it out.

        It did not where the id before its lowest is that of an older trade; how long it is says nothing.
        """
        older = await asked_twice_if_empty(lambda: self.ask(BELIEVABLE_MS.start, second_ms, self.page_limit))
        ids, times_ms = told_by_id(rows)
        older_ids, older_ms = told_by_id(older)
        lowest_id = ids[times_ms >= second_ms].min(initial=_NO_ID_AS_HIGH)
        newest_id = older_ids[older_ms < second_ms].max(initial=_FIRST_ID - 1)
        return bool(lowest_id > newest_id + 1)
