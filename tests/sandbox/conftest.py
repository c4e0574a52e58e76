"""A sandbox whose clock stands still, and ccxt's own classes pointed at it."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any, Final

import ccxt.async_support as ccxt
import ccxt.pro as ccxt_pro
import pytest
import pytest_asyncio

from tapehouse.exchange.routing import route_through
from tapehouse.sandbox import Sandbox, generated_markets

# 2026-05-05 12:34:56.789 UTC: in mid-minute, mid-hour and mid-day.
NOW_MS: Final = 1_777_984_496_789
# ccxt's methods are not typed throughout.
Exchange = Any
Connect = Callable[[str, Sandbox], Awaitable[Exchange]]
EXCHANGES: Final = ("binance", "binanceusdm", "kraken", "coinbaseexchange", "coinbase", "okx", "bybit")
UNLIMITED: Final[dict[str, int]] = dict.fromkeys(EXCHANGES, 10**9)


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: NOW_MS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Iterator[Sandbox]:
    yield shared_sandbox
    shared_sandbox.faults.clear()


@pytest_asyncio.fixture
async def connect() -> AsyncIterator[Connect]:
    async with _connections(ccxt) as connect_to:
        yield connect_to


@pytest_asyncio.fixture
async def watch() -> AsyncIterator[Connect]:
    """ccxt.pro's classes: like those of `connect`, and able to watch streams."""
    async with _connections(ccxt_pro) as connect_to:
        yield connect_to


@asynccontextmanager
async def _connections(package: ModuleType) -> AsyncGenerator[Connect]:
    opened: list[Exchange] = []

    async def connect_to(name: str, sandbox: Sandbox) -> Exchange:
        # ccxt waits a quarter of a second on closing, for TLS.
        exchange: Exchange = getattr(package, name)({"enableRateLimit": False, "timeout": 3000, "timeout_on_exit": 0})
        opened.append(exchange)
        route_through(exchange, sandbox.url)
        return exchange

    yield connect_to
    for exchange in opened:
        await exchange.close()
