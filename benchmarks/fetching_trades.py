"""Ingest of trades over HTTP, fetched, validated and written, against a loop that only fetches.

The loop is bare ccxt with the same settings, asking for page after page by the id that follows the last one.
"""

import asyncio
import time
from datetime import timedelta
from typing import Any, Final

from benchmarks.exchanges import bare_exchange, our_exchange
from benchmarks.figure import Figure
from benchmarks.rounds import LIMITED_ROUNDS, take_rounds
from benchmarks.sandbox_process import FIRST_CANDLE, SYMBOL, sandbox_url
from benchmarks.series import new_trade_series
from benchmarks.setting import Setting
from tapehouse.ingest import ingest_trades
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.timeframe import to_ms

_PAGE_TRADES: Final = 1000


def trades_http_ingest_vs_bare_ccxt_loop(setting: Setting) -> Figure:
    """As fast as the exchange answers: without ccxt's pauses between requests."""
    return _ingest(setting, "trades_http_ingest_vs_bare_ccxt_loop", rate_limited=False, rounds=setting.sizes.rounds)


def trades_http_ingest_limited_vs_bare_ccxt_loop(setting: Setting) -> Figure:
    """As it is run against a real exchange: with ccxt's pauses between requests."""
    key = "trades_http_ingest_limited_vs_bare_ccxt_loop"
    return _ingest(setting, key, rate_limited=True, rounds=LIMITED_ROUNDS)


def _ingest(setting: Setting, key: str, *, rate_limited: bool, rounds: int) -> Figure:
    # A day after the first trade, as most ingests begin where others ended.
    start = FIRST_CANDLE + timedelta(days=1)
    span = start, start + setting.sizes.fetched_trading
    counts: set[int] = set()
    with setting.emptied_database() as connection, sandbox_url() as url:

        def ingest_time_s() -> float:
            count, taken_s = asyncio.run(_ingest_all(connection, url, span, rate_limited=rate_limited))
            counts.add(count)
            return taken_s

        def bare_time_s() -> float:
            count, taken_s = asyncio.run(_fetch_all(url, span, rate_limited=rate_limited))
            counts.add(count)
            return taken_s

        taken = take_rounds(rounds, ingest_time_s, bare_time_s)
    (count,) = counts
    baseline = "await fetch_trades(...) in a loop, nothing else"
    return taken.as_cost(key, "ms", scale=1000, baseline=baseline, note=f"{count:,} trades")


async def _ingest_all(connection: Connection, url: str, span: TimeRange, *, rate_limited: bool) -> tuple[int, float]:
    """How many trades were ingested, and the seconds that it took."""
    series = new_trade_series(connection, symbol=SYMBOL)
    async with our_exchange(url, rate_limited=rate_limited) as exchange:
        await exchange.listing(SYMBOL)
        await exchange.now()
        started_s = time.perf_counter()
        result = await ingest_trades(exchange, connection, series, *span)
        taken_s = time.perf_counter() - started_s
    return result.inserted, taken_s


async def _fetch_all(url: str, span: TimeRange, *, rate_limited: bool) -> tuple[int, float]:
    """How many trades of the span were fetched, and the seconds that it took."""
    start_ms, end_ms = map(to_ms, span)
    async with bare_exchange(url, rate_limited=rate_limited) as exchange:
        started_s = time.perf_counter()
        # With a start alone, ccxt asks for one hour.
        page: list[dict[str, Any]] = await exchange.fetch_trades(SYMBOL, start_ms, _PAGE_TRADES)
        fetched = 0
        while page[-1]["timestamp"] < end_ms:
            fetched += len(page)
            page = await exchange.fetch_trades(SYMBOL, None, _PAGE_TRADES, {"fromId": int(page[-1]["id"]) + 1})
        fetched += sum(trade["timestamp"] < end_ms for trade in page)
        taken_s = time.perf_counter() - started_s
    return fetched, taken_s
