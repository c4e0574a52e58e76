"""Ingest of candles over HTTP, fetched, validated and written, against a loop that only fetches.

The loop is bare ccxt with the same settings, asking for the same windows one after another.
"""

import asyncio
import time
from datetime import datetime
from typing import Final

from benchmarks.exchanges import bare_exchange, our_exchange
from benchmarks.figure import Figure
from benchmarks.rounds import LIMITED_ROUNDS, take_rounds
from benchmarks.sandbox_process import FIRST_CANDLE, SYMBOL, sandbox_url
from benchmarks.series import new_candle_series
from benchmarks.setting import Setting
from tapehouse.ingest import ingest_candles
from tapehouse.store.connection import Connection
from tapehouse.timeframe import timeframe, to_ms

_MINUTE: Final = timeframe("1m")
_PAGE_CANDLES: Final = 1000


def http_ingest_vs_bare_ccxt_loop(setting: Setting) -> Figure:
    """As fast as the exchange answers: without ccxt's pauses between requests."""
    return _ingest(setting, "http_ingest_vs_bare_ccxt_loop", rate_limited=False, rounds=setting.sizes.rounds)


def http_ingest_limited_vs_bare_ccxt_loop(setting: Setting) -> Figure:
    """As it is run against a real exchange: with ccxt's pauses between requests."""
    return _ingest(setting, "http_ingest_limited_vs_bare_ccxt_loop", rate_limited=True, rounds=LIMITED_ROUNDS)


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
    series = new_candle_series(connection, symbol=SYMBOL)
    async with our_exchange(url, rate_limited=rate_limited) as exchange:
        await exchange.listing(SYMBOL)
        await exchange.now()
        started_s = time.perf_counter()
        result = await ingest_candles(exchange, connection, series, FIRST_CANDLE, _open_time(candles))
        taken_s = time.perf_counter() - started_s
    assert result.inserted == candles
    return taken_s


async def _bare_time_s(url: str, candles: int, *, rate_limited: bool) -> float:
    async with bare_exchange(url, rate_limited=rate_limited) as exchange:
        started_s = time.perf_counter()
        fetched = 0
        for first in range(0, candles, _PAGE_CANDLES):
            last = min(first + _PAGE_CANDLES, candles)
            until = {"until": to_ms(_open_time(last)) - 1}
            fetched += len(await exchange.fetch_ohlcv(SYMBOL, "1m", to_ms(_open_time(first)), last - first, until))
        taken_s = time.perf_counter() - started_s
    assert fetched == candles
    return taken_s


def _open_time(number: int) -> datetime:
    return FIRST_CANDLE + number * _MINUTE.length
