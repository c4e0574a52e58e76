"""Ingest of one range of one series of trades."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

from tapehouse.exchange import Exchange
from tapehouse.ingest.pages import Pages, ingest_pages
from tapehouse.ingest.result import MAX_REJECT_SHARE, IngestResult
from tapehouse.store.batch import WriteResult
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import TradeSeries
from tapehouse.store.trades import write_trades
from tapehouse.validate import split_trades


async def ingest_trades(
    exchange: Exchange,
    connection: Connection,
    series: TradeSeries,
    start: datetime,
    end: datetime,
    *,
    max_reject_share: float = MAX_REJECT_SHARE,
    progress: Callable[[IngestResult], None] | None = None,
) -> IngestResult:
    """Fetch, validate and write the trades of [start, end), as far as the exchange still gives them.

    What it doesn't give is noted as unavailable. Every batch is committed with its coverage before the
    next. Calls `progress` after each with the sum so far. Raises as `ingest_candles` does.
    """
    pages = exchange.trade_pages(series.instrument.symbol, start, end)
    write = partial(write_trade_pages, connection, series)
    return await ingest_pages(series, pages, write, max_reject_share=max_reject_share, progress=progress)


def write_trade_pages(connection: Connection, series: TradeSeries, pages: Pages) -> WriteResult:
    """Validate and write trades as received, with what they cover, in one transaction; raises StoreError."""
    bounds_start, bounds_end = pages.bounds
    split = split_trades(pages.rows, start=bounds_start, end=bounds_end)
    return write_trades(
        connection,
        series,
        split.good,
        asked=pages.asked,
        covered=pages.covered(split.covered),
        rejected=split.rejected,
        refused=pages.refused,
    )
