"""What an exchange streams, told of as it comes; the connections behind it are kept up for as long as it is followed.

How ccxt's class is listened to is `taps`' business; what may be believed is `tapehouse.validate`'s.
"""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from math import log10
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from tapehouse.errors import BadPage, InputError, PermanentError, RetryableError, needs_extra
from tapehouse.exchange.book_checksums import kraken_checksum, told_checksum
from tapehouse.exchange.habits import Habits, habits_of
from tapehouse.exchange.pacing import Pacer
from tapehouse.exchange.retry import RetryPolicy
from tapehouse.exchange.rows import trade_row
from tapehouse.exchange.wire import Wire
from tapehouse.timeframe import Timeframe

if TYPE_CHECKING:
    from tapehouse.exchange.connection import Connection

# All that comes is told of at once; ccxt is only asked, so often, whether its connection still stands.
_LOOK_S: Final = 0.1
_OTHER_SIDE: Final[Mapping[object, str]] = {"buy": "sell", "sell": "buy"}

# Told of a symbol, a row as `tapehouse.exchange.trades` or candles have them, and the number of the connection.
TellRow = Callable[[str, tuple[object, ...], int], None]
# Told of a symbol, ccxt's book, which goes on changing, and the number of the connection.
TellBook = Callable[[str, Mapping[str, Any], int], None]
# Told that what comes next need not follow on what came.
TellLoss = Callable[[], None]

_WatchAll: TypeAlias = Callable[[Sequence[str]], Awaitable[object]] | None

_logger = logging.getLogger(__name__)


class LiveExchange:
    """The streams of one exchange; connections that break are opened again until the following is cancelled.

    A connection's number says what was told over one and the same: only between those may something be missing.
    """

    def __init__(self, connection: "Connection", habits: Habits, *, retry: RetryPolicy) -> None:
        self._connection = connection
        self._ccxt = connection.ccxt
        self._habits = habits
        self._retry = retry
        self._unordered = 0

    @property
    def breaks(self) -> int:
        """How many connections took the place of lost ones, and how many books did not follow on what came before."""
        return self._ccxt.reopened + self._unordered

    async def follow_trades(self, symbols: Sequence[str], tell: TellRow) -> NoReturn:
        """Tell of each trade as a row (ms, id, side, price, amount, the trade as received).

        Raises PermanentError where the exchange streams none.
        """
        from tapehouse.exchange.taps import TradeTap

        self._require("watchTrades", "trades")
        turned = self._habits.tells_maker_side

        def tap(symbol: str) -> TradeTap:
            def told(trade: Mapping[str, object]) -> None:
                row = trade_row(trade)
                tell(symbol, _with_other_side(row) if turned else row, self._ccxt.link)

            return TradeTap(told)

        self._ccxt.trades.update((symbol, tap(symbol)) for symbol in symbols)
        channel = self._habits.trade_channel
        params = {} if channel is None else {"name": channel}
        await self._follow(
            "trades",
            symbols,
            self._if_has(
                "watchTradesForSymbols", lambda names: self._ccxt.watch_trades_for_symbols(names, params=params)
            ),
            lambda symbol: self._ccxt.watch_trades(symbol, params=params),
        )

    async def follow_candles(self, symbols: Sequence[str], timeframe: Timeframe, tell: TellRow) -> NoReturn:
        """Tell of each state of a candle as a row (ms, open, high, low, close, volume), the open one included.

        Raises PermanentError where the exchange streams none.
        """
        from tapehouse.exchange.taps import CandleTap

        self._require("watchOHLCV", "candles")

        def tap(symbol: str) -> CandleTap:
            return CandleTap(lambda row: tell(symbol, tuple(row), self._ccxt.link))

        for symbol in symbols:
            self._ccxt.ohlcvs.setdefault(symbol, {})[timeframe.name] = tap(symbol)
        await self._follow(
            "candles",
            symbols,
            self._if_has(
                "watchOHLCVForSymbols",
                lambda names: self._ccxt.watch_ohlcv_for_symbols([[name, timeframe.name] for name in names]),
            ),
            lambda symbol: self._ccxt.watch_ohlcv(symbol, timeframe.name),
        )

    async def follow_books(self, symbols: Sequence[str], depth: int, tell: TellBook, lose: TellLoss) -> NoReturn:
        """Tell of each state of an order book of at least that depth, checked as far as the exchange lets it be.

        What does not follow on what came before is taken anew, and told with `lose`. Raises PermanentError where the
        exchange streams no books, and InputError where it has none so deep.
        """
        self._require("watchOrderBook", "order books")
        limit = _depth_to_subscribe(depth, self._habits, self._connection.exchange_id)

        def told(book: Mapping[str, Any]) -> None:
            if self._habits.checks_books:
                self._check(book)
            tell(book["symbol"], book, self._ccxt.link)

        self._ccxt.on_book = told
        await self._follow(
            "order books",
            symbols,
            self._if_has(
                "watchOrderBookForSymbols", lambda names: self._ccxt.watch_order_book_for_symbols(names, limit)
            ),
            lambda symbol: self._ccxt.watch_order_book(symbol, limit),
            lose,
        )

    def _require(self, method: str, what: str) -> None:
        if not self._ccxt.has.get(method):
            raise PermanentError(
                f"{self._connection.exchange_id} streams no {what} through ccxt: leave them out with --dataset, and "
                "ingest them on a schedule instead."
            )

    async def _follow(
        self,
        what: str,
        symbols: Sequence[str],
        watch_all: _WatchAll,
        watch_one: Callable[[str], Awaitable[object]],
        lose: TellLoss = lambda: None,
    ) -> NoReturn:
        """Keep one subscription up for all symbols where the exchange has such, else one each."""
        if watch_all is not None:
            await self._keep(what, lambda: watch_all(symbols), lose)
        async with asyncio.TaskGroup() as group:
            for symbol in symbols:
                group.create_task(self._keep(f"{what} of {symbol}", lambda symbol=symbol: watch_one(symbol), lose))
        raise AssertionError("what is followed has no end")

    def _if_has(self, method: str, watch: Callable[[Sequence[str]], Awaitable[object]]) -> _WatchAll:
        return watch if self._ccxt.has.get(method) else None

    async def _keep(self, what: str, watch: Callable[[], Awaitable[object]], lose: TellLoss) -> NoReturn:
        """Have ccxt keep a subscription up; what comes is told by the taps meanwhile."""
        from ccxt.base.errors import InvalidNonce

        from tapehouse.exchange.translate import translate

        failures = 0
        while True:
            try:
                await watch()
                failures = 0
                await asyncio.sleep(_LOOK_S)
            except Exception as error:
                ours = translate(error, exchange_id=self._connection.exchange_id)
                if not isinstance(ours, RetryableError):
                    raise ours from error
                if _status_of(error) == HTTPStatus.NOT_FOUND:
                    raise PermanentError(
                        f"{self._connection.exchange_id} has no {what} to stream at the address that is asked: "
                        "see whether the gateway, or the sandbox, has streams of it."
                    ) from error
                failures += 1
                self._unordered += isinstance(error, InvalidNonce)
                pause_s = self._retry.pause_s(failures, ours)
                lose()
                _logger.warning("The %s: %s Following them again in %.1f s.", what, ours, pause_s)
                await asyncio.sleep(pause_s)

    def _check(self, book: Mapping[str, Any]) -> None:
        told = told_checksum(self._ccxt.message)
        if told is None:
            return
        precision = self._ccxt.market(book["symbol"])["precision"]
        decimals = {f"{name}_decimals": round(-log10(precision[name])) for name in ("price", "amount")}
        if kraken_checksum(book["bids"], book["asks"], **decimals) != told:
            # What reads it ends the connection, which counts as one break.
            raise BadPage(
                f"{self._connection.exchange_id} sent an order book of {book['symbol']} without the checksum that came "
                "with it: its connection is opened anew."
            )


@asynccontextmanager
async def open_live_exchange(
    exchange_id: str,
    *,
    base_url: str | None = None,
    timeout_s: float = 10.0,
    retry: RetryPolicy | None = None,
    pacer: Pacer | None = None,
    wire: Wire | None = None,
) -> AsyncGenerator[LiveExchange]:
    """The streams of an exchange by ccxt's name for it, closed at the end; the options are those of `open_exchange`.

    Raises UnknownExchange, MissingExtra, and PermanentError where ccxt has no streams of it.
    """
    with needs_extra("Exchanges need", "ccxt", "aiohttp", extra="ingest"):
        from tapehouse.exchange.connection import Connection
    habits, retry = habits_of(exchange_id), retry or RetryPolicy(base_s=0.1, cap_s=10.0)
    connection = Connection(
        exchange_id, habits, base_url=base_url, timeout_s=timeout_s, retry=retry, pacer=pacer, streams=True, wire=wire
    )
    try:
        yield LiveExchange(connection, habits, retry=retry)
    finally:
        await connection.close()


def _depth_to_subscribe(depth: int, habits: Habits, exchange_id: str) -> int | None:
    depths = habits.streamed_depths
    if depths is None:
        return None
    place = bisect_left(depths, depth)
    if place == len(depths):
        raise InputError(f"{exchange_id} streams no {depth} levels of an order book: ask for {depths[-1]} or fewer.")
    return depths[place]


def _status_of(error: Exception) -> int | None:
    """The status of the answer to the request for a connection, where ccxt's error is about one."""
    reason: object = error.args[0] if error.args else None
    status = getattr(reason, "status", None)
    return status if isinstance(status, int) else None


def _with_other_side(row: tuple[object, ...]) -> tuple[object, ...]:
    time_ms, trade_id, side, *rest = row
    return time_ms, trade_id, _OTHER_SIDE.get(side, side), *rest
