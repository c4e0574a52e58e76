"""A whole ingest of one series: find or sync its instrument, plan, fetch."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from tapehouse.errors import UnknownSymbol
from tapehouse.exchange import Exchange
from tapehouse.ingest.chunks import IngestedSeries, ingest_chunks
from tapehouse.ingest.plan import IngestPlan, plan_candles, plan_trades
from tapehouse.ingest.result import MAX_REJECT_SHARE, IngestResult
from tapehouse.instrument import Instrument
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import (
    CandleSeries,
    SyncResult,
    TradeSeries,
    ensure_candle_series,
    ensure_trade_series,
    find_instrument,
    require_origin,
    sync_listings,
)
from tapehouse.store.ledger import record_asked, record_wanted
from tapehouse.timeframe import EPOCH, Timeframe


@dataclass(frozen=True, slots=True)
class CandleRequest:
    """Candles of one series that open in [start, end); `end` None means the exchange's now."""

    symbol: str
    timeframe: Timeframe
    start: datetime
    end: datetime | None = None

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe}"


@dataclass(frozen=True, slots=True)
class TradeRequest:
    """Trades of one market in [start, end); `end` None means the exchange's now."""

    symbol: str
    start: datetime
    end: datetime | None = None

    def __str__(self) -> str:
        return f"{self.symbol} trades"


SeriesRequest: TypeAlias = CandleRequest | TradeRequest
# Told of a series' plan, and the sum of what was done so far: when planned, and after each batch.
Progress: TypeAlias = Callable[[IngestPlan, IngestResult], None]


async def sync_instruments(exchange: Exchange, connection: Connection) -> SyncResult:
    """Store all that the exchange lists today."""
    listings = await exchange.listings()
    return await asyncio.to_thread(sync_listings, connection, exchange.exchange_id, listings)


async def open_instrument(exchange: Exchange, connection: Connection, symbol: str) -> Instrument:
    """The stored instrument; syncs the exchange's instruments first where the symbol or its units are new.

    Raises UnknownSymbol where the exchange lists no such symbol either, and MixedOrigins where the
    store has the exchange from elsewhere.
    """
    listing = await exchange.listing(symbol)
    require_origin(connection, exchange.exchange_id, from_sandbox=listing.from_sandbox)
    with suppress(UnknownSymbol):
        known = find_instrument(connection, exchange.exchange_id, symbol)
        if (known.amount_unit, known.trade_unit) == (listing.amount_unit, listing.trade_unit):
            return known
    await sync_instruments(exchange, connection)
    return find_instrument(connection, exchange.exchange_id, symbol)


async def open_series(exchange: Exchange, connection: Connection, request: SeriesRequest) -> IngestedSeries:
    """The series to ingest into, known to the store from then on.

    Raises as `open_instrument` does, and UnknownTimeframe or PermanentError where the exchange has no such series.
    """
    instrument = await open_instrument(exchange, connection, request.symbol)
    match request:
        case CandleRequest():
            exchange.require_candles(request.timeframe)
            return ensure_candle_series(connection, instrument, request.timeframe)
        case TradeRequest():
            exchange.require_trades()
            return ensure_trade_series(connection, instrument)


def plan_series(
    connection: Connection, series: IngestedSeries, start: datetime, end: datetime, *, now: datetime
) -> IngestPlan:
    """Plan what is missing of [start, end), as `plan_range` does; where that reaches up to now, the series is followed.

    How often that is done tells how fresh it is expected to be.
    """
    plan = plan_range(connection, series, start, end, now=now)
    if end >= now:
        record_asked(connection, series)
    return plan


def plan_range(
    connection: Connection,
    series: IngestedSeries,
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    settled_before: datetime = EPOCH,
) -> IngestPlan:
    """Plan what is missing of [start, end), as `plan_candles` or `plan_trades` do, and note that it is wanted.

    So what a run is stopped before is known to be missing.
    """
    match series:
        case CandleSeries():
            plan = plan_candles(connection, series, start, end, now=now, settled_before=settled_before)
        case TradeSeries():
            plan = plan_trades(connection, series, start, end, now=now, settled_before=settled_before)
    first, stop = plan.wanted
    if first < stop:
        record_wanted(connection, series, plan.wanted)
    return plan


async def ingest_series(
    exchange: Exchange,
    connection: Connection,
    series: IngestedSeries,
    start: datetime,
    end: datetime | None = None,
    *,
    max_reject_share: float = MAX_REJECT_SHARE,
    progress: Progress | None = None,
) -> IngestResult:
    """Fetch what is missing of [start, end); `end` None means the exchange's now.

    Calls `progress` when it is planned, and after each batch with the sum so far. Raises as
    `plan_series` and `ingest_chunks` do; what was written before stays.
    """
    now = await exchange.now()
    plan = plan_series(connection, series, start, end or now, now=now)
    return await ingest_plan(exchange, connection, series, plan, max_reject_share=max_reject_share, progress=progress)


async def ingest_plan(
    exchange: Exchange,
    connection: Connection,
    series: IngestedSeries,
    plan: IngestPlan,
    *,
    max_reject_share: float = MAX_REJECT_SHARE,
    progress: Progress | None = None,
) -> IngestResult:
    """Fetch what is planned, as `ingest_chunks` does; `progress` is called as by `ingest_series`."""

    def report(written: IngestResult) -> None:
        if progress:
            progress(plan, written)

    report(IngestResult())
    return await ingest_chunks(
        exchange, connection, series, plan.chunks, max_reject_share=max_reject_share, progress=report
    )
