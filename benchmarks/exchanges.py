"""The sandbox's exchange as ours and as bare ccxt, with its pauses between requests or without them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import ccxt.async_support as ccxt_async

from benchmarks.sandbox_process import EXCHANGE_ID
from tapehouse.exchange import Exchange, open_exchange, route_through

_TIMEOUT_S: Final = 10.0


@asynccontextmanager
async def our_exchange(url: str, *, rate_limited: bool) -> AsyncGenerator[Exchange]:
    """The exchange as tapehouse opens it."""
    async with open_exchange(EXCHANGE_ID, base_url=url, timeout_s=_TIMEOUT_S) as exchange:
        # Nobody who talks to a real exchange may switch this off, so there is no setting for it.
        exchange._connection.ccxt.enableRateLimit = rate_limited  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        yield exchange


@asynccontextmanager
async def bare_exchange(url: str, *, rate_limited: bool) -> AsyncGenerator[Any]:
    """The class of bare ccxt with the same settings, its markets loaded."""
    exchange: Any = getattr(ccxt_async, EXCHANGE_ID)({"enableRateLimit": rate_limited, "timeout": 1000 * _TIMEOUT_S})
    route_through(exchange, url)
    exchange.has["fetchCurrencies"] = False
    exchange.options["fetchMarkets"]["types"] = ["spot", "linear"]
    try:
        await exchange.load_markets()
        yield exchange
    finally:
        await exchange.close()
