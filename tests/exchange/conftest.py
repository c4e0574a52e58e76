"""Exchanges opened on a sandbox whose clock stands still at the start of a minute."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final
from urllib.request import urlopen

import pytest
import pytest_asyncio

from tapehouse.exchange import Exchange, RetryPolicy, open_exchange
from tapehouse.sandbox import Sandbox, generated_markets

# 2026-05-05 12:34:00.500 UTC: no test lasts until the next minute.
NOW_MS: Final = 1_777_984_440_500
UNLIMITED: Final[dict[str, int]] = dict.fromkeys(
    ("binance", "binanceusdm", "kraken", "coinbaseexchange", "coinbase", "bybit", "okx"), 10**9
)
Open = Callable[..., Awaitable[Exchange]]


@pytest.fixture(scope="session")
def still_sandbox() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: NOW_MS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(still_sandbox: Sandbox) -> Iterator[Sandbox]:
    yield still_sandbox
    still_sandbox.faults.clear()


@pytest_asyncio.fixture
async def open_on(sandbox: Sandbox) -> AsyncIterator[Open]:
    """Opens an exchange on the sandbox, quick to retry and without ccxt's pauses between requests."""
    async with AsyncExitStack() as stack:

        async def open_one(exchange_id: str, *, timeout_s: float = 5.0, attempts: int = 4) -> Exchange:
            retry = RetryPolicy(attempts=attempts, base_s=0.001, cap_s=0.002)
            opened = open_exchange(exchange_id, base_url=sandbox.url, timeout_s=timeout_s, retry=retry)
            exchange = await stack.enter_async_context(opened)
            exchange._connection.ccxt.enableRateLimit = False  # pyright: ignore[reportPrivateUsage] -- no option for tests alone
            return exchange

        yield open_one


@pytest.fixture
def klines(sandbox: Sandbox) -> Callable[..., list[list[Any]]]:
    """Binance's own JSON, without ccxt: what the rows must agree with."""

    def fetch(symbol: str, interval: str, start_ms: int, end_ms: int) -> list[list[Any]]:
        query = f"symbol={symbol}&interval={interval}&startTime={start_ms}&endTime={end_ms - 1}&limit=1000"
        with urlopen(f"{sandbox.url}/api.binance.com/api/v3/klines?{query}") as answer:
            rows: list[list[Any]] = json.load(answer)
        return [[row[0], *(float(value) for value in row[1:6])] for row in rows]

    return fetch
