"""The chunks of a plan, fetched one after another, and past the windows that the exchange fails to give."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from tapehouse.errors import ExchangeError
from tapehouse.exchange import Exchange
from tapehouse.ingest.candles import ingest_candles
from tapehouse.ingest.result import MAX_REJECT_SHARE, IngestResult
from tapehouse.ingest.trades import ingest_trades
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries, TradeSeries
from tapehouse.store.ledger import record_failed

IngestedSeries: TypeAlias = CandleSeries | TradeSeries
# Told of the sum of what was done so far, after each batch.
Report: TypeAlias = Callable[[IngestResult], None]

# So many windows that fail one after another are the exchange's trouble, not theirs.
_MOST_FAILURES_IN_A_ROW: Final = 3


async def ingest_chunk(
    exchange: Exchange,
    connection: Connection,
    series: IngestedSeries,
    chunk: TimeRange,
    *,
    max_reject_share: float = MAX_REJECT_SHARE,
    progress: Report | None = None,
) -> IngestResult:
    """Fetch, validate and write a chunk of a plan, as `ingest_candles` or `ingest_trades` do."""
    match series:
        case CandleSeries():
            return await ingest_candles(
                exchange, connection, series, *chunk, max_reject_share=max_reject_share, progress=progress
            )
        case TradeSeries():
            return await ingest_trades(
                exchange, connection, series, *chunk, max_reject_share=max_reject_share, progress=progress
            )


async def ingest_chunks(
    exchange: Exchange,
    connection: Connection,
    series: IngestedSeries,
    chunks: Sequence[TimeRange],
    *,
    max_reject_share: float = MAX_REJECT_SHARE,
    progress: Report | None = None,
) -> IngestResult:
    """Ingest chunks in that order; a window that can't be had is noted as failed, and the rest fetched all the same.

    Calls `progress` after each batch with the sum so far. Raises ExchangeError at the end if any window failed, at
    once where three fail in a row, and else as `ingest_chunk` does; what was written before stays.
    """

    async def fetch(span: TimeRange, report: Report) -> None:
        await ingest_chunk(exchange, connection, series, span, max_reject_share=max_reject_share, progress=report)

    return await walk_chunks(
        series, chunks, fetch, lambda window: record_failed(connection, series, window), progress=progress
    )


async def walk_chunks(
    series: IngestedSeries,
    chunks: Sequence[TimeRange],
    fetch: Callable[[TimeRange, Report], Awaitable[None]],
    fail: Callable[[TimeRange], None],
    *,
    progress: Report | None = None,
) -> IngestResult:
    """What `ingest_chunks` does, with ways of the caller's own to ingest a range and to note a window as failed.

    `fetch` tells the sum of what it did after each batch.
    """
    run = _Run(series, fetch, fail, progress)
    for chunk in chunks:
        await run.ingest(chunk)
    run.tell_failures()
    return run.total


class _Run:
    """The sum of what was ingested so far, and the windows that failed."""

    def __init__(
        self,
        series: IngestedSeries,
        fetch: Callable[[TimeRange, Report], Awaitable[None]],
        fail: Callable[[TimeRange], None],
        progress: Report | None,
    ) -> None:
        self.total = IngestResult()
        self._series = series
        self._fetch = fetch
        self._fail = fail
        self._progress = progress
        # Of the failures only the last is kept: each holds on to the frames that it was raised in.
        self._last_failure: ExchangeError | None = None
        self._failures_in_a_row = 0

    async def ingest(self, chunk: TimeRange) -> None:
        """Ingest a chunk, and what comes behind each of its windows that fails."""
        start, end = chunk
        while start < end:
            start = await self._ingest_from(start, end)

    def tell_failures(self) -> None:
        """Raise ExchangeError if a window failed."""
        last, windows = self._last_failure, self.total.failed
        if last is None:
            return
        raise ExchangeError(
            f"{self._series}: {windows} {'range' if windows == 1 else 'ranges'} could not be had, "
            f"the last because of this: {last} They are gaps now: run the same command again to fetch them."
        ) from last

    async def _ingest_from(self, start: datetime, end: datetime) -> datetime:
        """Where to go on: at the end, or behind the window that failed."""
        done = self.total

        def report(written: IngestResult) -> None:
            self.total = done + written
            self._failures_in_a_row = 0
            if self._progress:
                self._progress(self.total)

        try:
            await self._fetch((start, end), report)
        except ExchangeError as error:
            if error.window is None:
                raise
            self._fail(error.window)
            self._note(error, error.window)
            return error.window[1]
        return end

    def _note(self, error: ExchangeError, window: TimeRange) -> None:
        """Count a window that failed; raises once too many did so in a row."""
        start, end = window
        self.total += IngestResult(failed=1, seconds=(end - start).total_seconds(), reached=end)
        self._last_failure = error
        self._failures_in_a_row += 1
        if self._progress:
            self._progress(self.total)
        if self._failures_in_a_row >= _MOST_FAILURES_IN_A_ROW:
            self.tell_failures()
