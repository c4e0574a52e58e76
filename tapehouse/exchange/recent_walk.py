"""The trades of exchanges that give only their most recent ones: one page; requests are in `trade_requests`."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from tapehouse.exchange.pages import BEYOND_HISTORY
from tapehouse.exchange.rows import kth_oldest_ms, times_of
from tapehouse.exchange.trades import OpenRange, TradePage, asked_twice_if_empty

# The most recent trades, at most so many; as many as the exchange likes for None.
AskRecent = Callable[[int | None], Awaitable[list[object]]]


@dataclass(frozen=True, slots=True)
class RecentWalk:
    """The trades in [start, end), which is over by the exchange's clock, as far as the exchange still gives them."""

    ask: AskRecent
    page_limit: int | None
    start: datetime
    end: datetime

    async def pages(self) -> AsyncIterator[TradePage]:
        """What lies before the page is refused, and the page answers the rest."""
        open_range = OpenRange(self.start, self.end)
        rows = await asked_twice_if_empty(lambda: self.ask(self.page_limit))
        kept_from_ms = min(max(_kept_from_ms(rows, open_range), open_range.first_ms), open_range.stop_ms)
        if kept_from_ms > open_range.first_ms:
            yield open_range.refuse(open_range.first_ms, kept_from_ms, BEYOND_HISTORY)
        if not open_range.is_done:
            open_range.take(rows)
            yield open_range.answer_all()


def _kept_from_ms(rows: list[object], open_range: OpenRange) -> int:
    """From when on the page has all trades: however long, it may have been cut within its oldest millisecond.

    What is oldest takes more than one row to tell, as the page then answers for all that is later.
    """
    oldest_ms = kth_oldest_ms(times_of(rows))
    return open_range.stop_ms if oldest_ms is None else oldest_ms + 1
