"""Backfills over HTTP: one series against a loop that only fetches, and eight at once against one after another."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final
from uuid import uuid4

from benchmarks.exchanges import bare_exchange, our_exchange
from benchmarks.figure import Figure
from benchmarks.rounds import take_rounds
from benchmarks.sandbox_process import EXCHANGE_ID, FIRST_CANDLE, SYMBOL, sandbox_url
from benchmarks.setting import EXCHANGE_PREFIX, Setting
from tapehouse.exchange import Exchange
from tapehouse.ingest import (
    Backfill,
    CandleRequest,
    Outcome,
    backfill,
    ingest_each,
    ingest_plan,
    open_series,
    plan_backfill,
)
from tapehouse.ingest.batch import at_work
from tapehouse.store.connection import Connection, connect
from tapehouse.timeframe import timeframe, to_ms

_MINUTE: Final = timeframe("1m")
_PAGE_CANDLES: Final = 1000
_NEAR_MS: Final = 50
_FAR_MS: Final = 100
_EIGHT_SYMBOLS: Final = (
    "BTC/USDT",
    "ETH/USDT",
    "SOL/USDT",
    "ETH/BTC",
    "QUILL/USDT:USDT",
    "BTC/USDT:USDT",
    "ETH/USDT:USDT",
    "SOL/USDT:USDT",
)


def backfill_vs_bare_ccxt_loop(setting: Setting) -> Figure:
    """One series from nothing, opening the exchange included, at the pace that the exchange allows."""
    candles = setting.sizes.fetched_candles
    with setting.emptied_database() as connection, sandbox_url(latency_ms=_NEAR_MS) as url:

        def ours() -> float:
            with nothing_stored(connection):
                return _backfill_time_s(setting.url, url, candles)

        taken = take_rounds(
            min(setting.sizes.rounds, 5),
            ours,
            lambda: asyncio.run(_bare_time_s(url, candles)),
        )
    return taken.as_cost(
        "backfill_vs_bare_ccxt_loop", "ms", scale=1000, baseline="load_markets, then await fetch_ohlcv(...) in a loop"
    )


def backfill_speedup_8_symbols(setting: Setting) -> Figure:
    """Eight series one after another, against the same at once.

    Without a rate limiter: the 50 requests a second that Binance allows would end what eight at once gain at
    five and a half times.
    """
    candles = setting.sizes.fetched_candles // 4
    with setting.emptied_database() as connection, sandbox_url(latency_ms=_FAR_MS) as url:

        def timed(fill: Callable[["_Eight"], Awaitable[None]]) -> Callable[[], float]:
            def measure() -> float:
                with nothing_stored(connection):
                    return asyncio.run(_eight_time_s(setting.url, url, candles, fill))

            return measure

        taken = take_rounds(min(setting.sizes.rounds, 3), timed(_Eight.one_by_one), timed(_Eight.at_once))
    return taken.as_cost("backfill_speedup_8_symbols", "s", baseline="the same eight series at once")


@contextmanager
def nothing_stored(connection: Connection) -> Generator[None]:
    """What is backfilled in the block is put under another exchange's name after it."""
    try:
        yield
    finally:
        connection.execute(
            "update instrument set exchange = %s || exchange where not starts_with(exchange, %s)",
            (f"{EXCHANGE_PREFIX}{uuid4().hex}-", EXCHANGE_PREFIX),
        )


class Unwatched:
    """A watcher who does not look."""

    def started(self, outcome: Outcome) -> None:
        """A series began."""

    def progressed(self, outcome: Outcome) -> None:
        """A series got on."""

    def ended(self, outcome: Outcome) -> None:
        """A series ended."""


def candle_request(candles: int, symbol: str = SYMBOL) -> CandleRequest:
    """So many 1m candles from the market's first one on."""
    return CandleRequest(symbol, _MINUTE, FIRST_CANDLE, _open_time(candles))


def _backfill_time_s(database_url: str, url: str, candles: int) -> float:
    started_s = time.perf_counter()
    (outcome,) = backfill(
        [Backfill(EXCHANGE_ID, [candle_request(candles)])],
        database_url=database_url,
        base_url=url,
        watcher=Unwatched(),
        force=True,
    )
    taken_s = time.perf_counter() - started_s
    assert outcome.result.inserted == candles
    return taken_s


async def _bare_time_s(url: str, candles: int) -> float:
    started_s = time.perf_counter()
    async with bare_exchange(url, rate_limited=True) as exchange:
        fetched = 0
        for first in range(0, candles, _PAGE_CANDLES):
            last = min(first + _PAGE_CANDLES, candles)
            until = {"until": to_ms(_open_time(last)) - 1}
            fetched += len(await exchange.fetch_ohlcv(SYMBOL, "1m", to_ms(_open_time(first)), last - first, until))
    taken_s = time.perf_counter() - started_s
    assert fetched == candles
    return taken_s


class _Eight:
    """Backfills of eight series of one exchange, each over a connection of its own."""

    def __init__(self, exchange: Exchange, connections: Sequence[Connection], candles: int) -> None:
        self._exchange = exchange
        self._connections = list(connections)
        self._requests = [candle_request(candles, symbol) for symbol in _EIGHT_SYMBOLS]
        self._candles = candles

    async def at_once(self) -> None:
        """As `backfill` does it."""
        await ingest_each(self._requests, self._fill, ended=_raise)

    async def one_by_one(self) -> None:
        """One series after another."""
        opening = asyncio.Lock()
        for request in self._requests:
            await self._fill(request, opening)

    async def _fill(self, request: CandleRequest, opening: asyncio.Lock) -> None:
        connection = self._connections.pop()
        async with opening:
            series = await open_series(self._exchange, connection, request)
        plan = await plan_backfill(self._exchange, connection, series, request.start, request.end, force=True)
        result = await ingest_plan(self._exchange, connection, series, plan)
        assert result.inserted == self._candles


async def _eight_time_s(database_url: str, url: str, candles: int, fill: Callable[[_Eight], Awaitable[None]]) -> float:
    connections = [connect(database_url) for _ in _EIGHT_SYMBOLS]
    try:
        async with our_exchange(url, rate_limited=False) as exchange:
            await exchange.listing(SYMBOL)
            with at_work():
                started_s = time.perf_counter()
                await fill(_Eight(exchange, connections, candles))
                return time.perf_counter() - started_s
    finally:
        for connection in connections:
            connection.close()


def _raise(_request: CandleRequest, error: Exception | None) -> None:
    if error is not None:
        raise error


def _open_time(number: int) -> datetime:
    return FIRST_CANDLE + number * _MINUTE.length
