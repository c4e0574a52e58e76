"""Opening an exchange to fetch from it: at a pace that all processes on one database keep together."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import urlsplit

from tapehouse.exchange import Exchange, RetryPolicy, open_exchange
from tapehouse.exchange.live import LiveExchange, open_live_exchange
from tapehouse.exchange.pacing import SharedPacer
from tapehouse.exchange.wire import Wire
from tapehouse.ingest.pages import finish_in_thread
from tapehouse.store.budget import RateBudget


@asynccontextmanager
async def open_shared_exchange(
    exchange_id: str,
    database_url: str,
    *,
    base_url: str | None = None,
    timeout_s: float = 10.0,
    retry: RetryPolicy | None = None,
) -> AsyncGenerator[Exchange]:
    """An exchange as `open_exchange` gives it, asked within the rate budget that the database keeps for it.

    Raises what `open_exchange` does; requests raise StoreError where that database has no budgets.
    """
    async with (
        _shared_pacer(exchange_id, database_url, base_url) as pacer,
        open_exchange(exchange_id, base_url=base_url, timeout_s=timeout_s, retry=retry, pacer=pacer) as exchange,
    ):
        yield exchange


@asynccontextmanager
async def open_shared_streams(
    exchange_id: str, database_url: str, *, base_url: str | None = None, wire: Wire | None = None
) -> AsyncGenerator[tuple[Exchange, LiveExchange]]:
    """An exchange as `open_shared_exchange` gives it and its streams, whose requests keep to the same budget.

    `wire` is told of all that goes to them and comes from them.

    Raises what `open_live_exchange` does besides.
    """
    async with (
        _shared_pacer(exchange_id, database_url, base_url) as pacer,
        open_exchange(exchange_id, base_url=base_url, pacer=pacer, wire=wire) as exchange,
        open_live_exchange(exchange_id, base_url=base_url, pacer=pacer, wire=wire) as live,
    ):
        yield exchange, live


@asynccontextmanager
async def _shared_pacer(exchange_id: str, database_url: str, base_url: str | None) -> AsyncGenerator[SharedPacer]:
    budget = ThreadedBudget(RateBudget(database_url, exchange_id, _address(base_url)))
    pacer = SharedPacer(exchange_id, budget)
    try:
        yield pacer
    finally:
        await pacer.close()
        await finish_in_thread(budget.close)


class ThreadedBudget:
    """A budget in a thread of its own: writers keep those that all share, and reserving must not wait for them."""

    def __init__(self, budget: RateBudget) -> None:
        self._budget = budget
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tapehouse-budget")

    async def reserve(self, seconds: float) -> tuple[float, bool]:
        """Reserve the next slice: in how many seconds it begins, and whether the one before was another's."""
        return await asyncio.wrap_future(self._thread.submit(self._budget.reserve, timedelta(seconds=seconds)))

    async def defer(self, seconds: float) -> None:
        """Let no slice begin for so long, apart from those reserved already."""
        await asyncio.wrap_future(self._thread.submit(self._budget.defer, timedelta(seconds=seconds)))

    def close(self) -> None:
        """Close the connection once it is not in use."""
        self._thread.submit(self._budget.close)
        self._thread.shutdown()


def _address(base_url: str | None) -> str:
    """What tells apart the ways to an exchange, without user and password; '' for its own address."""
    return "" if base_url is None else urlsplit(base_url).netloc.rpartition("@")[2]
