"""Tasks that write into the database, and the one that makes sure that it is there."""

from collections.abc import Callable

from tapehouse import ingest
from tapehouse.exchange import Exchange
from tapehouse.ingest import IngestedSeries, IngestResult
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import SyncResult
from tapehouse.store.migrate import require_migrated
from tasks.connections import open_database
from tasks.retrying import retried_task


@retried_task(name="check-database", run_name="check database")
async def check_database() -> None:
    """Raise StoreError unless a database answers that has all migrations."""
    with open_database() as connection:
        require_migrated(connection)


@retried_task(name="sync-instruments", run_name="sync {exchange.exchange_id}")
async def sync_instruments(exchange: Exchange) -> SyncResult:
    """Store all that the exchange lists today."""
    with open_database() as connection:
        return await ingest.sync_instruments(exchange, connection)


@retried_task(name="ingest-chunk", run_name="{series} from {chunk[0]:%Y-%m-%d %H:%M}")
async def ingest_chunk(
    exchange: Exchange,
    series: IngestedSeries,
    chunk: TimeRange,
    *,
    max_reject_share: float,
    record: Callable[[IngestResult], None],
) -> IngestResult:
    """Fetch, validate and write one chunk of a series.

    `record` is given what was done by each attempt, also by one that fails: that stays written.
    """
    done = IngestResult()

    def note(so_far: IngestResult) -> None:
        nonlocal done
        done = so_far

    try:
        with open_database() as connection:
            return await ingest.ingest_chunk(
                exchange, connection, series, chunk, max_reject_share=max_reject_share, progress=note
            )
    finally:
        record(done)
