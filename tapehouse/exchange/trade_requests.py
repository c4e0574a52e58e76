"""What is asked of ccxt for trades, in each exchange's own parameters, and the walk that it is asked for.

How the walks go on from page to page is in their own modules.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast

from tapehouse.errors import BadPage
from tapehouse.exchange.backward_walk import BackwardWalk
from tapehouse.exchange.cursor_walk import CursorAnswer, CursorWalk
from tapehouse.exchange.habits import Habits
from tapehouse.exchange.id_walk import IdWalk
from tapehouse.exchange.recent_walk import RecentWalk
from tapehouse.exchange.rows import time_of, trade_row
from tapehouse.exchange.trades import OpenRange, TradePage, TradeWalk
from tapehouse.instrument import Listing

if TYPE_CHECKING:
    from tapehouse.exchange.connection import Connection

_SECOND_MS: Final = 1000
_USUAL_LIMIT: Final = 1000
# A row of Kraken's, which ccxt lengthens by the cursor where it is the last one (kraken.py, fetch_trades).
_KRAKEN_CELLS: Final = 7


class TradeRequests:
    """Requests for the trades of one market."""

    def __init__(self, connection: "Connection", habits: Habits, listing: Listing) -> None:
        self._connection = connection
        self._habits = habits
        self._symbol = listing.symbol
        is_spot = listing.kind == "spot"
        self._page_limit = (habits.spot_trade_limit if is_spot else None) or habits.trade_limit

    async def pages(self, start: datetime, end: datetime) -> AsyncIterator[TradePage]:
        """Pages of the trades in [start, end), which is over by the exchange's clock, in the order that suits it."""
        open_range = OpenRange(start, end)
        if open_range.is_done:
            yield open_range.answer_all()  # Not even one millisecond begins in it.
            return
        async for page in self._walk(start, end).pages():
            yield page

    def _walk(self, start: datetime, end: datetime) -> TradeWalk:
        limit = self._page_limit or _USUAL_LIMIT
        match self._habits.trade_style:
            case "from_id":
                return IdWalk(self._from_id, self._between, limit, start, end)
            case "up_to_id":
                return IdWalk(self._up_to_id, None, limit, start, end)
            case "cursor":
                return CursorWalk(self._after, limit, start, end)
            case "window":
                return BackwardWalk(self._window, limit, start, end)
            case "recent":
                return RecentWalk(self._recent, self._page_limit, start, end)

    async def _from_id(self, first_id: int | None, limit: int) -> list[object]:
        return await self._ask(None, limit, {} if first_id is None else {"fromId": first_id})

    async def _between(self, first_ms: int, stop_ms: int, limit: int) -> list[object]:
        return await self._ask(first_ms, limit, {"until": stop_ms - 1})

    async def _up_to_id(self, first_id: int | None, limit: int) -> list[object]:
        """The newest trades before the id that follows a page; those asked for are among them."""
        return await self._ask(None, limit, {} if first_id is None else {"after": str(first_id + limit)})

    async def _after(self, after_ns: int, limit: int) -> CursorAnswer:
        # ccxt's own parameter would be cut to whole seconds.
        rows = await self._ask(None, limit, {"since": str(after_ns)})
        return CursorAnswer(rows, _cursor_taken_off(rows))

    async def _window(self, first_ms: int, stop_ms: int, limit: int) -> list[object]:
        until_ms = -(-stop_ms // _SECOND_MS) * _SECOND_MS
        return await self._ask(first_ms, limit, {"until": until_ms})

    async def _recent(self, limit: int | None) -> list[object]:
        return await self._ask(None, limit, {})

    async def _ask(self, since_ms: int | None, limit: int | None, params: Mapping[str, object]) -> list[object]:
        async def request() -> list[object]:
            rows = await self._connection.ccxt.fetch_trades(self._symbol, since_ms, limit, dict(params))
            return self._plausible(rows)

        return await self._connection.ask(request)

    def _plausible(self, rows: object) -> list[object]:
        """The rows, unless not a single one of them could be a trade: then the answer was something else."""
        if not isinstance(rows, list):
            raise BadPage(
                f"{self._connection.exchange_id} answered no list of trades for {self._symbol}: try again later."
            )
        answered = [_as_row(row) for row in cast("Sequence[object]", rows)]
        if answered and all(time_of(row) is None for row in answered):
            raise BadPage(
                f"{self._connection.exchange_id} answered rows that are no trades for {self._symbol}: try again later."
            )
        return answered


def _as_row(row: object) -> object:
    """The row, also where ccxt's class for an exchange reads trades its own way and gives dictionaries."""
    if not isinstance(row, dict):
        return row
    trade = cast("dict[str, object]", row)
    return trade_row(trade) if "info" in trade else trade


def _cursor_taken_off(rows: list[object]) -> int | None:
    """The cursor that ccxt put at the end of the last row received, which then is as it was received.

    Kraken's ids are numbers, its cursor is text, which ccxt takes for the id of a row that came without one.
    """
    if not rows:
        return None
    last = rows[-1]
    received = cast("Sequence[object]", last)[-1] if isinstance(last, tuple) else last
    if not isinstance(received, list) or len(cells := cast("list[object]", received)) < _KRAKEN_CELLS:
        return None
    if len(cells) == _KRAKEN_CELLS and not isinstance(cells[-1], str):
        return None
    cursor = cells.pop()
    if len(cells) < _KRAKEN_CELLS and isinstance(last, tuple):
        time_ms, _, *rest = cast("tuple[object, ...]", last)
        rows[-1] = (time_ms, None, *rest)
    return int(cursor) if isinstance(cursor, str) and cursor.isascii() and cursor.isdecimal() else None
