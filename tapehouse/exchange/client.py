"""An open exchange: what the rest of tapehouse asks of it, in tapehouse's own words.

How requests are made and retried is `connection`'s business, how a range is walked `pages`'.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, cast

from tapehouse.book import BookSample
from tapehouse.errors import (
    BadPage,
    ExchangeError,
    PermanentError,
    UnknownSymbol,
    UnknownTimeframe,
    needs_extra,
)
from tapehouse.exchange.books import depth_to_ask, sample_of
from tapehouse.exchange.first_candle import FirstCandleSearch
from tapehouse.exchange.habits import Habits, habits_of
from tapehouse.exchange.listings import listing_of
from tapehouse.exchange.pacing import Pacer
from tapehouse.exchange.pages import CandlePage, CandleWalk
from tapehouse.exchange.retry import RetryPolicy
from tapehouse.exchange.rows import time_of
from tapehouse.exchange.trade_requests import TradeRequests
from tapehouse.exchange.trades import TradePage
from tapehouse.exchange.wire import Wire
from tapehouse.instrument import Listing
from tapehouse.timeframe import Timeframe, aware_range, from_ms, timeframe_or_none, to_ms

if TYPE_CHECKING:
    from tapehouse.exchange.connection import Connection

_DEFAULT_PAGE_LIMIT: Final = 500


class Exchange:
    """One exchange, open; all of its methods may be used by many tasks at once."""

    def __init__(self, connection: "Connection", habits: Habits) -> None:
        self._connection = connection
        self._habits = habits
        self._listings: dict[str, Listing] | None = None
        self._loading = asyncio.Lock()

    @property
    def exchange_id(self) -> str:
        """The exchange's name, as ccxt writes it."""
        return self._connection.exchange_id

    @property
    def requests(self) -> int:
        """How many requests were sent so far."""
        return self._connection.requests

    @property
    def retries(self) -> int:
        """How many times something was asked again because of a fault."""
        return self._connection.retries

    async def now(self) -> datetime:
        """The time by the exchange's clock, in UTC; by ours where the exchange does not tell."""
        return await self._connection.now()

    async def read_clock(self) -> datetime:
        """The time by the exchange's clock, which is asked anew, in UTC; by ours where the exchange does not tell."""
        await self._connection.read_clock()
        return self._connection.told_now()

    def told_now(self) -> datetime:
        """The time by the exchange's clock as last read, or at most a second later where it tells whole seconds."""
        return self._connection.told_now()

    async def listings(self) -> list[Listing]:
        """All markets of the exchange, delisted ones included, as they were when first asked for."""
        return list((await self._by_symbol()).values())

    async def listing(self, symbol: str) -> Listing:
        """The market of that symbol; raises UnknownSymbol, naming the closest ones."""
        listings = await self._by_symbol()
        if symbol in listings:
            return listings[symbol]
        matches = get_close_matches(symbol.upper(), listings, n=3)
        hint = f"did you mean {', '.join(matches)}?" if matches else f"write it like {next(iter(listings))}."
        raise UnknownSymbol(f"{self.exchange_id} has no symbol {symbol!r}: {hint}")

    def require_candles(self, timeframe: Timeframe) -> None:
        """Raise UnknownTimeframe, or PermanentError, where the exchange has no candles of that timeframe, or none."""
        self._require("fetchOHLCV", "candles")
        ccxt = self._connection.ccxt
        if ccxt.timeframes and timeframe.name not in ccxt.timeframes:
            raise UnknownTimeframe(f"{self.exchange_id} has no {timeframe} candles: use {', '.join(ccxt.timeframes)}.")

    def require_trades(self) -> None:
        """Raise PermanentError where the exchange gives no trades."""
        self._require("fetchTrades", "trades")

    async def candle_pages(
        self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime
    ) -> AsyncIterator[CandlePage]:
        """Pages, oldest first, of the closed candles that open in [start, end).

        Their answered and refused windows together are [start, end), cut where the exchange's
        clock says that candles are still open. Raises UnknownSymbol, UnknownTimeframe, and
        ExchangeError once retrying was of no use.
        """
        start, end = aware_range(start, end)
        await self.listing(symbol)
        self.require_candles(timeframe)
        walk = CandleWalk(
            ask=lambda start, end, limit: self._ask_for_candles(symbol, timeframe, start, end, limit),
            timeframe=timeframe,
            habits=self._habits,
            page_limit=self._page_limit(symbol, timeframe),
            start=start,
            end=end,
            closed_until=timeframe.floor(await self.now()),
        )
        async for page in walk.pages():
            yield page

    async def candles_a_page(self, symbol: str, timeframe: Timeframe) -> int:
        """The most candles that one request gives; raises as `candle_pages` does."""
        await self.listing(symbol)
        self.require_candles(timeframe)
        return self._page_limit(symbol, timeframe)

    async def first_candle_time(self, symbol: str, timeframe: Timeframe) -> datetime | None:
        """The open time of the first candle that the exchange has, None where it can't be made out beyond doubt.

        Raises as `candle_pages` does.
        """
        await self.listing(symbol)
        self.require_candles(timeframe)
        search = FirstCandleSearch(
            ask=lambda timeframe, start, end, limit: self._ask_for_candles(symbol, timeframe, start, end, limit),
            timeframe=timeframe,
            longer=self._longer_than(timeframe),
            habits=self._habits,
            page_limit=lambda timeframe: self._page_limit(symbol, timeframe),
            now=await self.now(),
        )
        return await search.first_open()

    async def trade_pages(self, symbol: str, start: datetime, end: datetime) -> AsyncIterator[TradePage]:
        """Pages of the trades in [start, end), in the order that suits the exchange.

        Their answered and refused windows together are [start, end), cut at the exchange's present
        millisecond. Raises UnknownSymbol, PermanentError where the exchange gives no trades, and
        ExchangeError once retrying was of no use.
        """
        start, end = aware_range(start, end)
        self.require_trades()
        listing = await self.listing(symbol)
        # An answer tells of the time before it was asked for, and every request comes after this one.
        end = min(end, from_ms(to_ms(await self.now())))
        if start >= end:
            return
        try:
            async for page in TradeRequests(self._connection, self._habits, listing).pages(start, end):
                yield page
        except ExchangeError as error:
            # What of it was answered before is known to whoever got the pages.
            error.window = start, end
            raise

    async def order_book(self, symbol: str, depth: int) -> BookSample:
        """The order book as it is now, of `depth` levels a side or more, if there are so many.

        Raises UnknownSymbol, InputError for a depth that the exchange does not have, PermanentError where
        it gives no order books, and ExchangeError once retrying was of no use.
        """
        self._require("fetchOrderBook", "order books")
        await self.listing(symbol)
        depth = depth_to_ask(depth, self._habits, self.exchange_id)
        await self.now()  # So that telling the time takes no request once the book is there.

        async def request() -> BookSample:
            book = await self._connection.ccxt.fetch_order_book(symbol, depth)
            received_at, exchange_at = datetime.now(UTC), await self._connection.latest_now()
            whose = f"The order book of {symbol} from {self.exchange_id}"
            return sample_of(book, received_at=received_at, exchange_at=exchange_at, whose=whose)

        return await self._connection.ask(request)

    async def _by_symbol(self) -> dict[str, Listing]:
        # ccxt shares one loading task among all callers: cancelling one would cancel them all.
        async with self._loading:
            if self._listings is None:
                self._listings = await self._connection.ask(self._load_listings)
        return self._listings

    async def _load_listings(self) -> dict[str, Listing]:
        ccxt = self._connection.ccxt
        markets = cast("dict[str, dict[str, Any]]", await ccxt.load_markets())
        from_sandbox = self._connection.is_sandbox
        found = (
            listing_of(self.exchange_id, market, ccxt.precisionMode, self._habits, from_sandbox=from_sandbox)
            for market in markets.values()
        )
        listings = {listing.symbol: listing for listing in found if listing is not None}
        if not listings:
            raise BadPage(f"{self.exchange_id} listed no markets at all: try again later.")
        return listings

    def _require(self, method: str, what: str) -> None:
        if not self._connection.ccxt.has[method]:
            raise PermanentError(f"{self.exchange_id} gives no {what} through ccxt: choose another exchange.")

    def _longer_than(self, timeframe: Timeframe) -> list[Timeframe]:
        """The exchange's longer timeframes of those that have exact arithmetic, shortest first."""
        known = (timeframe_or_none(name) for name in self._connection.ccxt.timeframes or ())
        return sorted({one for one in known if one is not None and one > timeframe})

    def _page_limit(self, symbol: str, timeframe: Timeframe) -> int:
        limit: int | None = self._habits.page_limit
        if limit is None:
            limit = self._connection.ccxt.feature_value(symbol, "fetchOHLCV", "limit")
        if self._habits.page_span is not None:
            limit = min(limit or _DEFAULT_PAGE_LIMIT, self._habits.page_span // timeframe.length)
        return limit or _DEFAULT_PAGE_LIMIT

    async def _ask_for_candles(
        self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime | None, limit: int
    ) -> list[object]:
        params = {} if end is None else {"until": to_ms(end) - 1}

        async def request() -> list[object]:
            rows = await self._connection.ccxt.fetch_ohlcv(symbol, timeframe.name, to_ms(start), limit, params)
            return _plausible(rows, self.exchange_id, symbol)

        return await self._connection.ask(request)


@asynccontextmanager
async def open_exchange(
    exchange_id: str,
    *,
    base_url: str | None = None,
    timeout_s: float = 10.0,
    retry: RetryPolicy | None = None,
    pacer: Pacer | None = None,
    wire: Wire | None = None,
) -> AsyncGenerator[Exchange]:
    """An exchange by ccxt's name for it, closed at the end.

    `base_url` routes every request through that address, the original host being the first
    part of the path; `timeout_s` is for one request; `pacer` is asked before each one, instead of
    ccxt's own limiter, which knows of this process alone; `wire` is told of each answer. Raises
    UnknownExchange and MissingExtra.
    """
    with needs_extra("Exchanges need", "ccxt", "aiohttp", extra="ingest"):
        # ccxt takes a second and 100 MB to import, so only those who open an exchange pay for it.
        from tapehouse.exchange.connection import Connection
    habits = habits_of(exchange_id)
    retry = retry or RetryPolicy()
    connection = Connection(
        exchange_id, habits, base_url=base_url, timeout_s=timeout_s, retry=retry, pacer=pacer, wire=wire
    )
    try:
        yield Exchange(connection, habits)
    finally:
        await connection.close()


def _plausible(rows: object, exchange_id: str, symbol: str) -> list[object]:
    """The rows, unless not a single one of them could be a candle: then the answer was something else."""
    if not isinstance(rows, list):
        raise BadPage(f"{exchange_id} answered no list of candles for {symbol}: try again later.")
    answered = cast("Sequence[object]", rows)
    if answered and all(time_of(row) is None for row in answered):
        raise BadPage(f"{exchange_id} answered rows that are no candles for {symbol}: try again later.")
    return list(answered)
