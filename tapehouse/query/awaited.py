"""What lets an event loop ask a `MarketData`: what is in memory is given at once, what must be read comes by a thread.

The questions themselves are in `async_market`, which `twin` writes.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar

from tapehouse.errors import StoreUnreachable
from tapehouse.live import LiveTape
from tapehouse.query.arrivals import Event
from tapehouse.query.market import MarketData
from tapehouse.query.reader import MOST_CONNECTIONS, MustRead, from_memory
from tapehouse.query.subscribing import events

# What an iterator gives within this comes by one change of threads, which costs more than most of it.
_BATCH_S: Final = 0.005

P = ParamSpec("P")
T = TypeVar("T")


class Awaited:
    """Calls a MarketData for any number of tasks, and reads in no more threads than there are connections."""

    def __init__(self, market: MarketData) -> None:
        self._market = market
        self._threads = ThreadPoolExecutor(MOST_CONNECTIONS, thread_name_prefix="tapehouse-reader")
        self._is_closed = False

    @property
    def live(self) -> LiveTape:
        """What streams in this process have received."""
        return self._market.live

    def subscribe(
        self,
        symbol: str,
        *,
        exchange: str,
        datasets: Sequence[str] = ("trade",),
        timeframes: Sequence[str] = (),
        depth: int = 20,
        include_forming: bool = False,
    ) -> AsyncGenerator[Event]:
        """What happens in a market from now on, event by event, until the loop over it ends.

            async for event in market.subscribe("BTC/USDT", exchange="binance", datasets=["trade", "order_book"]):
                ...

        `datasets` are "trade", which gives a `TradeEvent` each, "order_book", an `OrderBookDataFrame` with at most
        `depth` levels a side, and "ohlcv", an `OHLCVCandle` of each of the `timeframes` (as ["1m", "1h"]) once it has
        closed. With `include_forming` candles that form are given too, `is_forming` says which, where a stream in this
        process has them. Times are aware and in UTC; units as of `trades`, `order_books` and `candles`.

        What a stream in this process (`live`) feeds comes as it is received. Everything else comes when it is written
        into the database, by whatever process. Where a stream begins or ends in between, nothing is left out or given
        twice. Events of one series come in the order of their times, but for trades that a stream receives late; before
        a hole in what was received or fetched it is waited up to ten seconds for that to be filled, and then gone on
        behind it. Of order books and forming candles who is slow gets the newest; what was made of other events stays.

        Raises InputError for a dataset or a depth there is not, or candles without timeframes, UnknownTimeframe; and
        when events are asked for UnknownSymbol, SubscriberTooSlow where someone falls 10,000 events behind a stream,
        and StoreError.
        """
        # The half of it that waits for nothing.
        subscribed = self._market._subscribed(  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] -- see above
            exchange, symbol, datasets, timeframes, depth=depth, include_forming=include_forming
        )
        return events(subscribed, self._in_thread, self._require_open)

    async def close(self) -> None:
        """Close all connections, once all that was asked for is read, and end what runs in the background."""
        self._is_closed = True
        await asyncio.to_thread(self._close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _close(self) -> None:
        self._threads.shutdown()
        self._market.close()

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        work = partial(call, *args, **kwargs)
        with suppress(MustRead):
            answer = from_memory(work)
            # Whoever asks again and again leaves the other tasks their turn.
            await asyncio.sleep(0)
            return answer
        return await self._in_thread(work)

    async def _iterate(self, iterator: Iterator[T]) -> AsyncIterator[T]:
        end = None
        while end is None:
            batch, end = await self._in_thread(partial(_next_few, iterator))
            for one in batch:
                yield one
        if not isinstance(end, StopIteration):
            raise end

    def _require_open(self) -> None:
        if self._is_closed:
            raise StoreUnreachable(f"This {type(self).__name__} is closed: connect a new one.")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._require_open()
        return await asyncio.wrap_future(self._threads.submit(work))


A = TypeVar("A", bound=Awaited)


class Opening(Generic[A]):
    """A connection to be made: await it, or enter it by `async with`, which closes it in the end."""

    def __init__(self, kind: Callable[[MarketData], A], connect: Callable[[], MarketData]) -> None:
        self._kind, self._connect = kind, connect

    def __await__(self) -> Generator[Any, None, A]:
        return self._open().__await__()

    async def __aenter__(self) -> A:
        self._opened = await self
        return self._opened

    async def __aexit__(self, *_: object) -> None:
        await self._opened.close()

    async def _open(self) -> A:
        connecting = ThreadPoolExecutor(1, thread_name_prefix="tapehouse-connect").submit(self._connect)
        try:
            return self._kind(await asyncio.wrap_future(connecting))
        except asyncio.CancelledError:
            connecting.add_done_callback(_close_unwanted)
            raise


def _close_unwanted(connecting: Future[MarketData]) -> None:
    if not connecting.cancelled() and not connecting.exception():
        connecting.result().close()


def _next_few(iterator: Iterator[T]) -> tuple[list[T], Exception | None]:
    """What comes quickly, at least one, and what ended it, if it has ended."""
    few: list[T] = []
    until_s = monotonic() + _BATCH_S
    try:
        while not few or monotonic() < until_s:
            few.append(next(iterator))
    except Exception as end:  # noqa: BLE001 -- raised where it belongs, behind what came before it
        return few, end
    return few, None
