"""Pages are fetched while the pages before them are written: the stream that all ingests share.

What is fetched and how it is written are the datasets' business: `candles`, `trades`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol, TypeVar

from tapehouse.ingest.result import IngestResult, refuse_bad_share
from tapehouse.ranges import TimeRange, Unavailable, merge_ranges, subtract_ranges
from tapehouse.store.batch import WriteResult
from tapehouse.store.instruments import Series

# Pages that may wait for the writer; it takes all that wait as one batch of up to 10,000 rows.
_QUEUED_PAGES: Final = 10

T = TypeVar("T")


class Page(Protocol):
    """Rows as received, and the windows they are an answer for, half-open and in UTC."""

    @property
    def rows(self) -> Sequence[object]:
        """The rows, in the order received."""
        ...

    @property
    def answered(self) -> Sequence[TimeRange]:
        """The windows that were answered."""
        ...

    @property
    def refused(self) -> Sequence[Unavailable]:
        """The windows that the exchange would not give."""
        ...


# Rows and the bounds of what they were asked for; how the outcome of validating and writing them is told.
Write = Callable[["Pages"], WriteResult]


class Pages:
    """Pages that are written as one batch."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self.rows = [row for page in pages for row in page.rows]
        self.asked = merge_ranges(window for page in pages for window in page.answered)
        self.refused = [refusal for page in pages for refusal in page.refused]
        windows = self.asked or [(one.start, one.end) for one in self.refused]
        self.bounds = min(start for start, _ in windows), max(end for _, end in windows)

    def covered(self, within_bounds: Sequence[TimeRange]) -> list[TimeRange]:
        """What of those ranges was asked for."""
        return subtract_ranges(within_bounds, subtract_ranges([self.bounds], self.asked))

    def result(self, written: WriteResult) -> IngestResult:
        """What writing the pages came to."""
        windows = [*self.asked, *((one.start, one.end) for one in self.refused)]
        return IngestResult(
            fetched=len(self.rows),
            inserted=written.inserted,
            changed=written.changed,
            unchanged=written.unchanged,
            rejected=written.rejected,
            refused=len(self.refused),
            seconds=sum((end - start).total_seconds() for start, end in merge_ranges(windows)),
            revision=written.revision,
            reached=max(end for _, end in windows),
        )


async def ingest_pages(
    series: Series,
    pages: AsyncIterator[Page],
    write: Write,
    *,
    max_reject_share: float,
    progress: Callable[[IngestResult], None] | None,
) -> IngestResult:
    """Write pages as they come; every batch is committed before the next.

    Calls `progress` after each with the sum so far. Raises what fetching or writing raises once what came
    before is written, and QualityError after a batch with too many bad rows.
    """
    queue: asyncio.Queue[Page | None] = asyncio.Queue(_QUEUED_PAGES)
    fetching = asyncio.create_task(_fetch(pages, queue))
    total = IngestResult()
    try:
        while batch := await _waiting_pages(queue):
            together = Pages(batch)
            written = together.result(await finish_in_thread(lambda together=together: write(together)))
            total += written
            if progress:
                progress(total)
            refuse_bad_share(series, written, max_reject_share)
        await fetching
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
    return total


async def finish_in_thread(work: Callable[[], T]) -> T:
    """Run in a thread; when cancelled, wait for it first, since its connection is in use until then."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


async def _fetch(pages: AsyncIterator[Page], queue: asyncio.Queue[Page | None]) -> None:
    try:
        async for page in pages:
            await queue.put(page)
    except Exception:
        # What came before the fault is written first; then awaiting this task raises it.
        await queue.put(None)
        raise
    await queue.put(None)


async def _waiting_pages(queue: asyncio.Queue[Page | None]) -> list[Page]:
    """All pages that wait, at least one; none once the fetching has ended."""
    batch: list[Page] = []
    while not batch or not queue.empty():
        page = await queue.get()
        if page is None:
            # Left for the next call to find, if there is something to write first.
            if batch:
                queue.put_nowait(None)
            break
        batch.append(page)
    return batch
