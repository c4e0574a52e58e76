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
_STOP_AGAIN_S: Final = 0.5

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
        windows = [*self.asked, *((one.start, one.end) for one in self.refused)]
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
    before is written, and QualityError after a batch with too many bad rows. When cancelled it writes what it has.
    """
    queue: asyncio.Queue[Page | None] = asyncio.Queue(_QUEUED_PAGES)
    fetching = asyncio.create_task(_fetch(pages, queue))
    total = IngestResult()

    def count(written: IngestResult) -> None:
        nonlocal total
        total += written
        if progress and written != IngestResult():
            progress(total)

    async def write_together(waiting: Sequence[Page]) -> IngestResult:
        written, loop = IngestResult(), asyncio.get_running_loop()

        def work() -> None:
            nonlocal written
            # Where writers are fewer than series, more pages have come until it is this one's turn.
            further = asyncio.run_coroutine_threadsafe(_left_pages(queue), loop).result()
            together = Pages([*waiting, *further])
            written = together.result(write(together))

        try:
            await finish_in_thread(work)
        finally:
            # Also when cancelled: what is committed by then counts.
            count(written)
        return written

    try:
        while (page := await queue.get()) is not None:
            refuse_bad_share(series, await write_together([page]), max_reject_share)
        await fetching
    except asyncio.CancelledError:
        await stop_tasks([fetching])
        if left := await _left_pages(queue):
            await write_together(left)
        raise
    finally:
        await stop_tasks([fetching])
    return total


async def stop_tasks(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End the tasks; one in whose request the cancellation gets lost is cancelled again."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_STOP_AGAIN_S)
    # So that none is reported as an error nobody looked at.
    await asyncio.gather(*tasks, return_exceptions=True)


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


async def _left_pages(queue: asyncio.Queue[Page | None]) -> list[Page]:
    """All pages that wait; what says that no more come is left to be found."""
    waiting = [queue.get_nowait() for _ in range(queue.qsize())]
    if waiting and waiting[-1] is None:
        queue.put_nowait(None)
    return [page for page in waiting if page is not None]
