"""Ingest of one range of one series: pages are fetched while the pages before them are written."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeVar, cast

from tapehouse.errors import QualityError
from tapehouse.exchange import CandlePage, Exchange
from tapehouse.ranges import TimeRange, Unavailable, subtract_ranges
from tapehouse.store.candles import WriteResult, write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import Series
from tapehouse.validate import split_candles

# Pages that may wait for the writer; it takes all that wait as one batch of up to 10,000 candles.
_QUEUED_PAGES: Final = 10
# A batch with a larger share of rejected rows ends the run: something is wrong with the exchange
# or with our reading of it.
MAX_REJECT_SHARE: Final = 0.1
# So few prove nothing: one bad candle of the five that every run asks for again must not stop the rest.
_REJECTS_LET_PASS: Final = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CandleIngest:
    """What an ingest did so far: counts of rows, and the number of ranges the exchange refused.

    `reached` is the end of the range dealt with last.
    """

    fetched: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0
    refused: int = 0
    revision: int | None = None
    reached: datetime | None = None

    def __add__(self, other: "CandleIngest") -> "CandleIngest":
        return CandleIngest(
            self.fetched + other.fetched,
            self.inserted + other.inserted,
            self.changed + other.changed,
            self.unchanged + other.unchanged,
            self.rejected + other.rejected,
            self.refused + other.refused,
            other.revision if other.revision is not None else self.revision,
            other.reached or self.reached,
        )


async def ingest_candles(
    exchange: Exchange,
    connection: Connection,
    series: Series,
    start: datetime,
    end: datetime,
    *,
    max_reject_share: float = MAX_REJECT_SHARE,
    progress: Callable[[CandleIngest], None] | None = None,
) -> CandleIngest:
    """Fetch, validate and write the closed candles that open in [start, end).

    Every batch is committed with its coverage before the next, so what was done stays done
    whatever happens. Calls `progress` after each with the sum so far. Raises ExchangeError,
    StoreError, and QualityError after quarantining when a batch has too many bad rows.
    """
    pages: asyncio.Queue[CandlePage | None] = asyncio.Queue(_QUEUED_PAGES)
    fetching = asyncio.create_task(_fetch(exchange, series, start, end, pages))
    total = CandleIngest()
    try:
        while batch := await _waiting_pages(pages):
            written = await _finish_in_thread(lambda: _write_pages(connection, series, batch))
            total += written
            if progress:
                progress(total)
            _refuse_bad_share(series, written, max_reject_share)
        await fetching
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
    return total


async def _fetch(
    exchange: Exchange, series: Series, start: datetime, end: datetime, pages: asyncio.Queue[CandlePage | None]
) -> None:
    try:
        async for page in exchange.candle_pages(series.instrument.symbol, series.timeframe, start, end):
            await pages.put(_light(page))
    except Exception:
        # What came before the fault is written first; then awaiting this task raises it.
        await pages.put(None)
        raise
    await pages.put(None)


def _light(page: CandlePage) -> CandlePage:
    """The page with its rows as tuples.

    The garbage collector leaves tuples of numbers alone. Lists that wait by the thousand would
    have it walk through all of ccxt and pandas again and again.
    """
    return replace(page, rows=[tuple(cast("list[object]", row)) if isinstance(row, list) else row for row in page.rows])


async def _waiting_pages(pages: asyncio.Queue[CandlePage | None]) -> list[CandlePage]:
    """All pages that wait, at least one; none once the fetching has ended."""
    batch: list[CandlePage] = []
    while not batch or not pages.empty():
        page = await pages.get()
        if page is None:
            # Left for the next call to find, if there is something to write first.
            if batch:
                pages.put_nowait(None)
            break
        batch.append(page)
    return batch


def _write_pages(connection: Connection, series: Series, pages: Sequence[CandlePage]) -> CandleIngest:
    rows = [row for page in pages for row in page.rows]
    asked = [window for page in pages for window in page.answered]
    refused = [refusal for page in pages for refusal in page.refused]
    written = _write_rows(connection, series, rows, asked, refused)
    return CandleIngest(
        fetched=len(rows),
        inserted=written.inserted,
        changed=written.changed,
        unchanged=written.unchanged,
        rejected=written.rejected,
        refused=len(refused),
        revision=written.revision,
        reached=max(end for _, end in (*asked, *((one.start, one.end) for one in refused))),
    )


def _refuse_bad_share(series: Series, written: CandleIngest, max_reject_share: float) -> None:
    if written.rejected > max(_REJECTS_LET_PASS, max_reject_share * written.fetched):
        raise QualityError(
            f"{series}: {written.rejected} of {written.fetched} candles were rejected, which is more than "
            f"{max_reject_share:.0%}. They are in quarantine with their reasons; good ones were stored."
        )


def _write_rows(
    connection: Connection,
    series: Series,
    rows: Sequence[object],
    asked: Sequence[TimeRange],
    refused: Sequence[Unavailable],
) -> WriteResult:
    bounds = [time for window in asked for time in window] or [time for one in refused for time in (one.start, one.end)]
    start, end = min(bounds), max(bounds)
    split = split_candles(rows, series.timeframe, start=start, end=end)
    not_asked = subtract_ranges([(start, end)], asked)
    return write_candles(
        connection,
        series,
        split.good,
        asked=asked,
        covered=subtract_ranges(split.covered, not_asked),
        rejected=split.rejected,
        refused=refused,
    )


async def _finish_in_thread(work: Callable[[], T]) -> T:
    """Run in a thread; when cancelled, wait for it first, since its connection is in use until then."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise
