"""Ingest of several series: exchanges side by side, of each a few series at once; one that fails stops no other.

What an ingest of one series does is `tapehouse.ingest.run`'s, or `tapehouse.ingest.backfill`'s.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias, TypeVar

from tapehouse.exchange import Exchange
from tapehouse.ingest.chunks import IngestedSeries
from tapehouse.ingest.plan import IngestPlan
from tapehouse.ingest.result import IngestResult
from tapehouse.ingest.run import Progress, SeriesRequest, ingest_series, open_series
from tapehouse.ingest.venue import open_shared_exchange
from tapehouse.store.connection import Connection, connect

# These keep an exchange busy that takes a tenth of a second to answer; more gain nothing, since its
# rate limit, by which the pace is set, is shared by all of them.
SERIES_AT_ONCE: Final = 8
# Where the machine is the bottleneck, fewer writers write more pages at once, which costs less a page.
_WRITERS: Final = 2

R = TypeVar("R")
# Fetches what is missing of a series, and tells how it gets on.
Fetch: TypeAlias = Callable[[Exchange, Connection, IngestedSeries, SeriesRequest, Progress], Awaitable[None]]


@dataclass(slots=True)
class Outcome:
    """What became of one series, filled in while it is ingested; `plan` is None until there is one."""

    exchange_id: str
    request: SeriesRequest
    plan: IngestPlan | None = None
    result: IngestResult = field(default_factory=IngestResult)
    seconds: float = 0.0
    error: Exception | None = None
    is_ended: bool = False


class Watcher(Protocol):
    """Who is told how the ingest of each series gets on."""

    def started(self, outcome: Outcome) -> None:
        """The series is the next to be asked for."""
        ...

    def progressed(self, outcome: Outcome) -> None:
        """It is planned what to ask for, or one more batch was committed."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """The series is done, or failed."""
        ...


def ingest_batch(
    exchange_id: str, requests: Sequence[SeriesRequest], *, database_url: str, base_url: str | None, watcher: Watcher
) -> list[Outcome]:
    """Ingest different series of one exchange, and give an outcome for each in the order asked; raises as `run_all`."""

    async def ingest(
        exchange: Exchange, connection: Connection, series: IngestedSeries, request: SeriesRequest, progress: Progress
    ) -> None:
        await ingest_series(exchange, connection, series, request.start, request.end, progress=progress)

    return run_all({exchange_id: requests}, ingest, database_url=database_url, base_url=base_url, watcher=watcher)


def run_all(
    asked: Mapping[str, Sequence[SeriesRequest]],
    fetch: Fetch,
    *,
    database_url: str,
    base_url: str | None,
    watcher: Watcher,
) -> list[Outcome]:
    """Run `fetch` for different series of each exchange, and give an outcome for each in the order asked.

    Raises UnknownExchange, MissingExtra, and StoreError where the database can't be reached at
    all; KeyboardInterrupt once what was fetched is committed.
    """
    with ExitStack() as stack:
        # Closed only after the event loop's threads have ended, since these write through them.
        def open_connection() -> Connection:
            return stack.enter_context(connect(database_url))

        runs = [_Run(exchange_id, requests, fetch, open_connection, watcher) for exchange_id, requests in asked.items()]
        asyncio.run(_run_all(runs, database_url, base_url))
    return [outcome for run in runs for outcome in run.outcomes.values()]


async def ingest_each(
    requests: Sequence[R],
    ingest: Callable[[R, asyncio.Lock], Awaitable[None]],
    *,
    ended: Callable[[R, Exception | None], None],
) -> None:
    """Run `ingest` for each series, at most SERIES_AT_ONCE of them at a time, and tell how each ended.

    It is given the lock under which to open its series: one at a time, so that the first series
    of a new exchange stores its instruments for all.
    """
    slots, opening = asyncio.Semaphore(SERIES_AT_ONCE), asyncio.Lock()

    async def one(request: R) -> None:
        error: Exception | None = None
        async with slots:
            try:
                await ingest(request, opening)
            except Exception as failure:  # noqa: BLE001 -- one series' fault, whatever it is, must not stop the others
                error = failure
        ended(request, error)

    # A task group, since it ends only when all of its tasks have: they use what is closed then.
    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(one(request))


@contextmanager
def at_work() -> Generator[None]:
    """How the running event loop pulls many pages with little work, as long as the block lasts.

    No more than two of its threads validate and write at the same time. What the process holds already, all of ccxt
    and pandas, is left alone by the garbage collector, which the rows of each page would send through it again.
    """
    writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="tapehouse-writer")
    asyncio.get_running_loop().set_default_executor(writers)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _run_all(runs: Sequence["_Run"], database_url: str, base_url: str | None) -> None:
    async with AsyncExitStack() as stack:
        stack.enter_context(at_work())
        # All are opened before any is asked, so that one with a wrong name stops what has not begun.
        exchanges = [
            await stack.enter_async_context(open_shared_exchange(run.exchange_id, database_url, base_url=base_url))
            for run in runs
        ]
        async with asyncio.TaskGroup() as group:
            for run, exchange in zip(runs, exchanges, strict=True):
                group.create_task(run.fetch_all(exchange))


class _Run:
    """The series of one exchange, the few connections that they share, and what became of each."""

    def __init__(
        self,
        exchange_id: str,
        requests: Sequence[SeriesRequest],
        fetch: Fetch,
        open_connection: Callable[[], Connection],
        watcher: Watcher,
    ) -> None:
        self.exchange_id = exchange_id
        self.outcomes = {request: Outcome(exchange_id, request) for request in requests}
        self._fetch = fetch
        self._open_connection = open_connection
        # As many as there are series at once, so one is always free.
        self._free = [open_connection() for _ in requests[:SERIES_AT_ONCE]]
        self._watcher = watcher

    async def fetch_all(self, exchange: Exchange) -> None:
        """Fetch all series; what fails is in the outcomes."""

        async def fetch_one(request: SeriesRequest, opening: asyncio.Lock) -> None:
            await self._fetch_over_free(exchange, request, opening)

        await ingest_each(list(self.outcomes), fetch_one, ended=self._end)

    async def _fetch_over_free(self, exchange: Exchange, request: SeriesRequest, opening: asyncio.Lock) -> None:
        """Fetch one series over a free connection."""
        outcome, connection, began_s = self.outcomes[request], self._free.pop(), time.monotonic()

        def report(plan: IngestPlan, result: IngestResult) -> None:
            outcome.plan, outcome.result = plan, result
            self._watcher.progressed(outcome)

        self._watcher.started(outcome)
        try:
            if connection.closed:
                # It was lost in the series before, which need not be the end of this one.
                connection = self._open_connection()
            async with opening:
                series = await open_series(exchange, connection, request)
            await self._fetch(exchange, connection, series, request, report)
        finally:
            outcome.seconds = time.monotonic() - began_s
            self._free.append(connection)

    def _end(self, request: SeriesRequest, error: Exception | None) -> None:
        """Note how the series ended."""
        outcome = self.outcomes[request]
        outcome.error, outcome.is_ended = error, True
        self._watcher.ended(outcome)
