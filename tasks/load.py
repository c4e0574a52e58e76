"""Tasks that write into the database, and the one that makes sure that it is there."""

from tapehouse import ingest
from tapehouse.exchange import Exchange
from tapehouse.ingest import IngestedSeries, IngestResult, Report
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import SyncResult
from tapehouse.store.ledger import missing_ranges, record_failed
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


class Attempts:
    """The attempts at one chunk; `report` is told what all of them did together, since what was written stays."""

    def __init__(self, report: Report) -> None:
        self.were_made = False
        self._done = IngestResult()
        self._report = report

    def begin(self) -> Report:
        """Begin an attempt at the chunk or at a part of it; gives what is to be told how far that is."""
        self.were_made = True
        before = self._done

        def note(so_far: IngestResult) -> None:
            self._done = before + so_far
            self._report(self._done)

        return note


@retried_task(name="ingest-chunk", run_name="{series} from {chunk[0]:%Y-%m-%d %H:%M}")
async def ingest_chunk(
    exchange: Exchange, series: IngestedSeries, chunk: TimeRange, *, max_reject_share: float, attempts: Attempts
) -> None:
    """Fetch, validate and write one chunk of a series; after the first attempt only what of it is still missing."""
    with open_database() as connection:
        spans = missing_ranges(connection, series, chunk) if attempts.were_made else [chunk]
        for span in spans:
            await ingest.ingest_chunk(
                exchange, connection, series, span, max_reject_share=max_reject_share, progress=attempts.begin()
            )


def note_failed(series: IngestedSeries, window: TimeRange) -> None:
    """Note that a window of a series was asked for in vain."""
    with open_database() as connection:
        record_failed(connection, series, window)
