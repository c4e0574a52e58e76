"""Ingest over HTTP, fetched, validated and written, against a loop that only fetches.

The loop is bare ccxt with the same settings, asking for the same windows one after another.
"""

import asyncio
import time
from datetime import datetime
from typing import Any, Final

import ccxt.async_support as ccxt_async

from benchmarks.figure import Figure
from benchmarks.history import new_series
from benchmarks.rounds import take_rounds
from benchmarks.sandbox_process import EXCHANGE_ID, FIRST_CANDLE, SYMBOL, sandbox_url
from benchmarks.setting import Setting
from tapehouse.exchange import open_exchange, route_through
from tapehouse.ingest import ingest_candles
from tapehouse.store.connection import Connection
from tapehouse.timeframe import timeframe, to_ms

_MINUTE: Final = timeframe("1m")
_PAGE_CANDLES: Final = 1000
_TIMEOUT_S: Final = 10.0


def http_ingest_vs_bare_ccxt_loop(setting: Setting) -> Figure:
    """As fast as the exchange answers: without ccxt's pauses between requests."""
    return _ingest(setting, "http_ingest_vs_bare_ccxt_loop", rate_limited=False, rounds=setting.sizes.rounds)


def http_ingest_limited_vs_bare_ccxt_loop(setting: Setting) -> Figure:
    """As it is run against a real exchange: with ccxt's pauses between requests."""
    # The pauses are long and even, so few rounds do.
    return _ingest(setting, "http_ingest_limited_vs_bare_ccxt_loop", rate_limited=True, rounds=2)


def _ingest(setting: Setting, key: str, *, rate_limited: bool, rounds: int) -> Figure:
    candles = setting.sizes.fetched_candles
    with setting.emptied_database() as connection, sandbox_url() as url:
        taken = take_rounds(
            rounds,
            lambda: asyncio.run(_ingest_time_s(connection, url, candles, rate_limited=rate_limited)),
            lambda: asyncio.run(_bare_time_s(url, candles, rate_limited=rate_limited)),
        )
    return taken.as_cost(key, "ms", scale=1000, baseline="await fetch_ohlcv(...) in a loop, nothing else")


async def _ingest_time_s(connection: Connection, url: str, candles: int, *, rate_limited: bool) -> float:
    series = new_series(connection, symbol=SYMBOL)
    end = _open_time(candles)
    async with open_exchange(EXCHANGE_ID, base_url=url, timeout_s=_TIMEOUT_S) as exchange:
        # Nobody who talks to a real exchange may switch this off, so there is no setting for it.
        exchange._connection.ccxt.enableRateLimit = rate_limited  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        await exchange.listing(SYMBOL)
        await exchange.now()
        started_s = time.perf_counter()
        result = await ingest_candles(exchange, connection, series, FIRST_CANDLE, end)
        taken_s = time.perf_counter() - started_s
    assert result.inserted == candles
    return taken_s


async def _bare_time_s(url: str, candles: int, *, rate_limited: bool) -> float:
    exchange: Any = getattr(ccxt_async, EXCHANGE_ID)({"enableRateLimit": rate_limited, "timeout": 1000 * _TIMEOUT_S})
    route_through(exchange, url)
    exchange.has["fetchCurrencies"] = False
    exchange.options["fetchMarkets"]["types"] = ["spot", "linear"]
    try:
        await exchange.load_markets()
        started_s = time.perf_counter()
        fetched = 0
        for first in range(0, candles, _PAGE_CANDLES):
            last = min(first + _PAGE_CANDLES, candles)
            until = {"until": to_ms(_open_time(last)) - 1}
            fetched += len(await exchange.fetch_ohlcv(SYMBOL, "1m", to_ms(_open_time(first)), last - first, until))
        taken_s = time.perf_counter() - started_s
    finally:
        await exchange.close()
    assert fetched == candles
    return taken_s


def _open_time(number: int) -> datetime:
    return FIRST_CANDLE + number * _MINUTE.length
