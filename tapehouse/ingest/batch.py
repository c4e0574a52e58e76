"""Ingest of several series of one exchange at once, where one that fails does not stop the others.

What an ingest of one series does is `tapehouse.ingest`; tables and options are `tapehouse.cli.ingest`'s.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Protocol

from tapehouse.exchange import Exchange, open_exchange
from tapehouse.ingest import CandleIngest, CandlePlan, SeriesRequest, ingest_series, open_series
from tapehouse.store.connection import Connection, connect

# More at once gain nothing: an exchange's rate limit is shared by all of them.
AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one series; `plan` is None if it failed, or was done, before anything was written."""

    request: SeriesRequest
    plan: CandlePlan | None
    result: CandleIngest
    seconds: float
    error: Exception | None


class Watcher(Protocol):
    """Who is told how the ingest of each series gets on."""

    def started(self, request: SeriesRequest) -> None:
        """The series is the next to be asked for."""
        ...

    def progressed(self, request: SeriesRequest, plan: CandlePlan, result: CandleIngest) -> None:
        """One more batch was committed; `result` is the sum so far."""
        ...

    def ended(self, outcome: Outcome) -> None:
        """The series is done, or failed."""
        ...


def ingest_batch(
    exchange_id: str, requests: Sequence[SeriesRequest], *, database_url: str, base_url: str | None, watcher: Watcher
) -> list[Outcome]:
    """Ingest the series, up to four at once, and give an outcome for each in the order asked.

    Raises UnknownExchange, MissingExtra, and StoreError where the database can't be reached at
    all; KeyboardInterrupt once what was being written is committed.
    """
    with ExitStack() as stack:
        # Closed only after the event loop's threads have ended, since these write through them.
        connections = [stack.enter_context(connect(database_url)) for _ in requests[:AT_ONCE]]
        return asyncio.run(_ingest_all(exchange_id, requests, connections, base_url, watcher))


async def _ingest_all(
    exchange_id: str,
    requests: Sequence[SeriesRequest],
    connections: Sequence[Connection],
    base_url: str | None,
    watcher: Watcher,
) -> list[Outcome]:
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    async with open_exchange(exchange_id, base_url=base_url) as exchange:
        run = _Run(exchange, free, watcher)
        # A task group, since it ends only when all of its tasks have: they use what is closed then.
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run.ingest(request)) for request in requests]
    return [task.result() for task in tasks]


class _Run:
    """The one exchange and the few connections that all series share."""

    def __init__(self, exchange: Exchange, free: "asyncio.Queue[Connection]", watcher: Watcher) -> None:
        self._exchange = exchange
        self._free = free
        self._watcher = watcher
        self._opening = asyncio.Lock()

    async def ingest(self, request: SeriesRequest) -> Outcome:
        """Ingest one series as soon as a connection is free."""
        connection = await self._free.get()
        try:
            self._watcher.started(request)
            outcome = await self._outcome(request, connection)
        finally:
            self._free.put_nowait(connection)
        self._watcher.ended(outcome)
        return outcome

    async def _outcome(self, request: SeriesRequest, connection: Connection) -> Outcome:
        began_s = time.monotonic()
        reached: tuple[CandlePlan | None, CandleIngest] = (None, CandleIngest())
        error: Exception | None = None

        def report(plan: CandlePlan, result: CandleIngest) -> None:
            nonlocal reached
            reached = (plan, result)
            self._watcher.progressed(request, plan, result)

        try:
            # One at a time, so that a new exchange's instruments are stored once and not by each series.
            async with self._opening:
                await open_series(self._exchange, connection, request.symbol, request.timeframe)
            await ingest_series(self._exchange, connection, request, progress=report)
        except Exception as failure:  # noqa: BLE001 - one series' fault, whatever it is, must not stop the others
            error = failure
        plan, result = reached
        return Outcome(request, plan, result, time.monotonic() - began_s, error)
