"""Fixtures of the ingest's tests: the recorded markets served over HTTP, and exchanges without a limiter."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tapehouse.exchange import Exchange, RetryPolicy, open_exchange

RECORDED = Path(__file__).parents[3] / "shared" / "data"

OpenExchange = Callable[..., AbstractAsyncContextManager[Exchange]]


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The folder of recorded market data."""
    if not RECORDED.is_dir():
        pytest.skip("needs the recorded market data in ../shared/data")
    return RECORDED


@pytest.fixture(scope="session")
def open_unlimited() -> OpenExchange:
    """`open_exchange` without ccxt's rate limiter, and with short waits before retries."""

    @asynccontextmanager
    async def open_it(exchange_id: str, base_url: str) -> AsyncGenerator[Exchange]:
        retry = RetryPolicy(attempts=8, base_s=0.01, cap_s=0.05)
        async with open_exchange(exchange_id, base_url=base_url, timeout_s=2.0, retry=retry) as exchange:
            exchange._connection.ccxt.enableRateLimit = False  # pyright: ignore[reportPrivateUsage] -- the sandbox is ours to load
            yield exchange

    return open_it
