"""The tasks that find gaps and repair them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from tapehouse import ingest
from tapehouse.ingest import ExchangeRepair, FallbackName
from tapehouse.store import gaps
from tapehouse.store.connection import Connection
from tapehouse.store.gaps import Gap
from tapehouse.store.instruments import Dataset, list_series
from tapehouse.timeframe import Timeframe
from tasks.connections import open_database, open_exchange
from tasks.retrying import retried_task


@retried_task(name="find-gaps", run_name="find gaps")
async def find_gaps(
    *,
    exchange: str | None,
    symbol: str | None,
    dataset: Dataset | None,
    timeframe: Timeframe | None,
    start: datetime | None,
    end: datetime | None,
) -> list[Gap]:
    """The gaps of all series that fit what is given."""

    def find(connection: Connection) -> list[Gap]:
        asked = list_series(connection, exchange=exchange, symbol=symbol, dataset=dataset, timeframe=timeframe)
        return [gap for series in asked for gap in gaps.find_gaps(connection, series, start, end)]

    with open_database() as connection:
        return await asyncio.to_thread(find, connection)


# Not retried: what could not be had is noted with its next try, and the next run is due soon.
@task(name="repair-gaps", task_run_name="repair {exchange_id}", cache_policy=NO_CACHE, persist_result=False)
async def repair_gaps(exchange_id: str, found: Sequence[Gap], fallbacks: Sequence[FallbackName]) -> ExchangeRepair:
    """Repair gaps of one exchange; what failed is in the answer."""
    with open_database() as connection:
        return await ingest.repair_exchange(
            exchange_id, connection, found, fallbacks=fallbacks, open_exchange=open_exchange
        )
