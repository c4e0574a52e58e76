"""Ingest of one range of one series of candles."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import cast

from tapehouse.exchange import CandlePage, Exchange
from tapehouse.ingest.pages import Pages, ingest_pages
from tapehouse.ingest.result import MAX_REJECT_SHARE, IngestResult
from tapehouse.store.batch import WriteResult
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries
from tapehouse.validate import split_candles


async def ingest_candles(
    exchange: Exchange,
    connection: Connection,
    series: CandleSeries,
    start: datetime,
    end: datetime,
    *,
    max_reject_share: float = MAX_REJECT_SHARE,
    progress: Callable[[IngestResult], None] | None = None,
) -> IngestResult:
    """Fetch, validate and write the closed candles that open in [start, end).

    Every batch is committed with its coverage before the next, so what was done stays done
    whatever happens. Calls `progress` after each with the sum so far. Raises ExchangeError,
    StoreError, and QualityError after quarantining when a batch has too many bad rows.
    """
    pages = _light(exchange.candle_pages(series.instrument.symbol, series.timeframe, start, end))
    write = partial(write_candle_pages, connection, series)
    return await ingest_pages(series, pages, write, max_reject_share=max_reject_share, progress=progress)


def write_candle_pages(connection: Connection, series: CandleSeries, pages: Pages) -> WriteResult:
    """Validate and write candles as received, with what they cover, in one transaction; raises StoreError."""
    bounds_start, bounds_end = pages.bounds
    split = split_candles(pages.rows, series.timeframe, start=bounds_start, end=bounds_end)
    return write_candles(
        connection,
        series,
        split.good,
        asked=pages.asked,
        covered=pages.covered(split.covered),
        rejected=split.rejected,
        refused=pages.refused,
    )


async def _light(pages: AsyncIterator[CandlePage]) -> AsyncIterator[CandlePage]:
    """The pages with their rows as tuples.

    The garbage collector leaves tuples of numbers alone. Lists that wait by the thousand would
    have it walk through all of ccxt and pandas again and again.
    """
    async for page in pages:
        if set(map(type, page.rows)) == {tuple}:
            yield page
            continue
        rows = [tuple(cast("list[object]", row)) if isinstance(row, list) else row for row in page.rows]
        yield replace(page, rows=rows)
