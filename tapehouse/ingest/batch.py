"""Ingest of several series of one exchange: a few at once, and one that fails does not stop the others.

What an ingest of one series does is `tapehouse.ingest.run`'s.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from tapehouse.exchange import Exchange, open_exchange
from tapehouse.ingest.plan import IngestPlan
from tapehouse.ingest.result import IngestResult
from tapehouse.ingest.run import SeriesRequest, ingest_series, open_series
from tapehouse.store.connection import Connection, connect

# These keep an exchange busy while others are written; more gain nothing, since its rate limit,
# by which ccxt sets the pace, is shared by all of them.
SERIES_AT_ONCE: Final = 4

R = TypeVar("R")


@dataclass(slots=True)
class Outcome:
    """What became of one series, filled in while it is ingested; `plan` is None until something was written."""

    request: SeriesRequest
    plan: IngestPlan | None = None
    result: IngestResult = field(default_factory=IngestResult)
    seconds: float = 0.0
    error: Exception | None = None


class Watcher(Protocol):
    """Who is told how the ingest of each series gets on."""

    def started(self, request: SeriesRequest) -> None:
        """The series is the next to be asked for."""
        ...

    def progressed(self, request: SeriesRequest, plan: IngestPlan, result: IngestResult) -> None:
        """One more batch was committed; `result` is the sum so far."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """The series is done, or failed."""
        ...


def ingest_batch(
    exchange_id: str, requests: Sequence[SeriesRequest], *, database_url: str, base_url: str | None, watcher: Watcher
) -> list[Outcome]:
    """Ingest different series, a few at once, and give an outcome for each in the order asked.

    Raises UnknownExchange, MissingExtra, and StoreError where the database can't be reached at
    all; KeyboardInterrupt once what was being written is committed.
    """
    with ExitStack() as stack:
        # Closed only after the event loop's threads have ended, since these write through them.
        def open_connection() -> Connection:
            return stack.enter_context(connect(database_url))

        connections = [open_connection() for _ in requests[:SERIES_AT_ONCE]]
        return asyncio.run(_ingest_all(exchange_id, requests, connections, open_connection, base_url, watcher))


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


async def _ingest_all(
    exchange_id: str,
    requests: Sequence[SeriesRequest],
    connections: Sequence[Connection],
    open_connection: Callable[[], Connection],
    base_url: str | None,
    watcher: Watcher,
) -> list[Outcome]:
    async with open_exchange(exchange_id, base_url=base_url) as exchange:
        run = _Run(exchange, requests, connections, open_connection, watcher)
        await ingest_each(requests, run.ingest, ended=run.end)
    return [run.outcomes[request] for request in requests]


class _Run:
    """The one exchange and the few connections that all series share, and what became of each."""

    def __init__(
        self,
        exchange: Exchange,
        requests: Sequence[SeriesRequest],
        connections: Sequence[Connection],
        open_connection: Callable[[], Connection],
        watcher: Watcher,
    ) -> None:
        self.outcomes = {request: Outcome(request) for request in requests}
        self._exchange = exchange
        # As many as there are series at once, so one is always free.
        self._free = list(connections)
        self._open_connection = open_connection
        self._watcher = watcher

    async def ingest(self, request: SeriesRequest, opening: asyncio.Lock) -> None:
        """Ingest one series over a free connection."""
        outcome, connection, began_s = self.outcomes[request], self._free.pop(), time.monotonic()

        def report(plan: IngestPlan, result: IngestResult) -> None:
            outcome.plan, outcome.result = plan, result
            self._watcher.progressed(request, plan, result)

        self._watcher.started(request)
        try:
            if connection.closed:
                # It was lost in the series before, which need not be the end of this one.
                connection = self._open_connection()
            async with opening:
                series = await open_series(self._exchange, connection, request)
            await ingest_series(self._exchange, connection, series, request.start, request.end, progress=report)
        finally:
            outcome.seconds = time.monotonic() - began_s
            self._free.append(connection)

    def end(self, request: SeriesRequest, error: Exception | None) -> None:
        """Note how the series ended."""
        outcome = self.outcomes[request]
        outcome.error = error
        self._watcher.ended(outcome)
