"""A whole ingest of one series: find or sync its instrument, plan, fetch chunk after chunk."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tapehouse.errors import UnknownSymbol
from tapehouse.exchange import Exchange
from tapehouse.ingest.candles import MAX_REJECT_SHARE, CandleIngest, ingest_candles
from tapehouse.ingest.plan import CandlePlan, plan_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import (
    Series,
    SyncResult,
    ensure_series,
    find_instrument,
    require_origin,
    sync_listings,
)
from tapehouse.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class SeriesRequest:
    """Candles of one series that open in [start, end); `end` None means the exchange's now."""

    symbol: str
    timeframe: Timeframe
    start: datetime
    end: datetime | None = None


async def sync_instruments(exchange: Exchange, connection: Connection) -> SyncResult:
    """Store all that the exchange lists today."""
    listings = await exchange.listings()
    return await asyncio.to_thread(sync_listings, connection, exchange.exchange_id, listings)


async def open_series(exchange: Exchange, connection: Connection, symbol: str, timeframe: Timeframe) -> Series:
    """The series to ingest into; syncs the exchange's instruments first where the symbol is new.

    Raises UnknownSymbol where the exchange lists no such symbol either, and MixedOrigins where the
    store has the exchange from elsewhere.
    """
    listing = await exchange.listing(symbol)
    require_origin(connection, exchange.exchange_id, from_sandbox=listing.from_sandbox)
    try:
        instrument = find_instrument(connection, exchange.exchange_id, symbol)
    except UnknownSymbol:
        await sync_instruments(exchange, connection)
        instrument = find_instrument(connection, exchange.exchange_id, symbol)
    return ensure_series(connection, instrument, timeframe)


async def ingest_series(
    exchange: Exchange,
    connection: Connection,
    series: Series,
    start: datetime,
    end: datetime | None = None,
    *,
    max_reject_share: float = MAX_REJECT_SHARE,
    progress: Callable[[CandlePlan, CandleIngest], None] | None = None,
) -> CandleIngest:
    """Fetch what is missing of the candles that open in [start, end); `end` None means the exchange's now.

    Calls `progress` after each batch with the plan and the sum so far. Raises as
    `plan_candles` and `ingest_candles` do; what was written before stays.
    """
    now = await exchange.now()
    plan = plan_candles(connection, series, start, end or now, now=now)
    total = CandleIngest()
    for chunk_start, chunk_end in plan.chunks:
        done = total

        def report(chunk: CandleIngest, done: CandleIngest = done) -> None:
            if progress:
                progress(plan, done + chunk)

        total += await ingest_candles(
            exchange, connection, series, chunk_start, chunk_end, max_reject_share=max_reject_share, progress=report
        )
    return total
