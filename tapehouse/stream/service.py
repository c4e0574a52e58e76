"""A stream: what an exchange sends of some markets, checked and written, for as long as it runs.

What it misses meanwhile, for whatever reason, is fetched by requests, as is what it missed before it was started.
"""

import asyncio
import logging
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, cast

from tapehouse.config import settings_from_environment
from tapehouse.errors import ExchangeError, StoreError, UnknownSymbol
from tapehouse.exchange import Exchange
from tapehouse.exchange.live import LiveExchange
from tapehouse.exchange.wire import Wire
from tapehouse.ingest.pages import finish_in_thread
from tapehouse.ingest.venue import open_shared_streams
from tapehouse.live import LiveTape
from tapehouse.store import address
from tapehouse.store.connection import connect
from tapehouse.store.features import refresh_features
from tapehouse.store.instruments import ensure_book_series, ensure_candle_series, ensure_trade_series, find_instrument
from tapehouse.stream.batcher import Batcher, Flushing
from tapehouse.stream.hearing import Hearing
from tapehouse.stream.holes import HoleFiller
from tapehouse.stream.parcel import StreamedSeries
from tapehouse.stream.request import Lanes, StreamRequest, open_lanes
from tapehouse.stream.spill import FindSeries, Spill
from tapehouse.stream.statistics import StreamStatistics
from tapehouse.stream.telling import Telling
from tapehouse.stream.writer import Writer
from tapehouse.timeframe import timeframe

_REFRESH_S: Final = 5.0
_CLOCK_S: Final = 60.0
_CLOCK_LOOK_S: Final = 1.0
# Told of a time so far from what its clock is taken for, the exchange is asked for the time again.
_CLOCK_OFF: Final = timedelta(seconds=1)

_logger = logging.getLogger(__name__)


async def stream(
    request: StreamRequest,
    *,
    database_url: str | None = None,
    spill_folder: Path | None = None,
    base_url: str | None = None,
    flushing: Flushing | None = None,
    statistics: StreamStatistics | None = None,
    tape: LiveTape | None = None,
    wire: Wire | None = None,
) -> None:
    """Stream until cancelled; then all that came is written, or kept on disk for the next start.

    The database is the one of the environment unless `database_url` names another, and what can't be written waits in
    `spill_folder`, by default in the data directory; `base_url` leads to the exchange by another way than the
    environment's. `statistics` are kept up to date meanwhile. A `tape`, which is the `live` of a `MarketData`, has what
    comes at once, before it is written; a `wire` is told of it as it is.

        async with AsyncMarketData.connect() as market, asyncio.TaskGroup() as group:
            group.create_task(stream(StreamRequest("binance", ["BTC/USDT"]), tape=market.live))
            async for event in market.subscribe("BTC/USDT", exchange="binance", datasets=["trade"]):
                ...

    Raises RetryableError where the exchange can't be reached to begin with, which is tried for a while,
    UnknownExchange, UnknownSymbol, PermanentError where the exchange streams no such thing, and StoreError for what
    waiting does not mend, which a database that is away is not.
    """
    statistics = statistics if statistics is not None else StreamStatistics()
    settings = settings_from_environment()
    url, folder = address.database_url(database_url), spill_folder or settings.data_dir / "spill"
    way = base_url or settings.exchange_url
    opening = open_shared_streams(request.exchange_id, url, base_url=way, wire=wire)
    async with opening as (exchange, live):
        with closing(connect(url)) as connection:
            lanes = await open_lanes(exchange, connection, request)
        telling = None if tape is None else Telling(tape)
        with (
            _told_of(lanes, telling),
            closing(Writer(url, depth=request.depth)) as writer,
            closing(Spill(folder, request.exchange_id, _finder(request.exchange_id, url))) as spill,
        ):
            batcher = Batcher(lanes.all, writer, spill, flushing or Flushing(), statistics, telling)
            hearing = Hearing(exchange, lanes, batcher, telling)
            try:
                async with asyncio.TaskGroup() as group:
                    for work in (
                        *hearing.following(live, request),
                        batcher.run(),
                        HoleFiller(exchange, url, lanes.all, statistics).run(),
                        _keep_watch(exchange, live, hearing, statistics),
                        _keep_features(url),
                    ):
                        group.create_task(work)
            except BaseExceptionGroup as failures:
                raise _first(failures) from failures
            finally:
                hearing.end()
                statistics.breaks = live.breaks
                await batcher.finish()


@contextmanager
def _told_of(lanes: Lanes, telling: Telling | None) -> Generator[None]:
    """Readers know meanwhile what is streamed."""
    if telling is None:
        yield
        return
    for lane in lanes.all:
        telling.open(lane.series)
    try:
        yield
    finally:
        for lane in lanes.all:
            telling.close(lane.series)


async def _keep_watch(exchange: Exchange, live: LiveExchange, hearing: Hearing, statistics: StreamStatistics) -> None:
    """Know the exchange's clock, how far it is from ours, and how often its streams broke."""
    read_at_s = float("-inf")
    while True:
        statistics.breaks = live.breaks
        latest = hearing.latest
        is_off = latest is not None and latest - exchange.told_now() > _CLOCK_OFF
        if is_off or time.monotonic() - read_at_s > _CLOCK_S:
            try:
                await exchange.read_clock()
                read_at_s = time.monotonic()
                statistics.skew_ms = (exchange.told_now() - datetime.now(UTC)) / timedelta(milliseconds=1)
            except ExchangeError as error:
                _logger.warning("%s", error)
        await asyncio.sleep(_CLOCK_LOOK_S)


async def _keep_features(database_url: str) -> None:
    """Compute what follows from order books and trades soon after they were written."""
    while True:
        await asyncio.sleep(_REFRESH_S)
        try:
            await finish_in_thread(lambda: _refresh(database_url))
        except StoreError as error:
            _logger.warning("%s", error)


def _refresh(database_url: str) -> None:
    with closing(connect(database_url)) as connection:
        refresh_features(connection)


def _finder(exchange_id: str, database_url: str) -> FindSeries:
    """Finds the series of what another run has left on disk."""

    def find(symbol: str, dataset: str, timeframe_name: str | None) -> StreamedSeries | None:
        with closing(connect(database_url)) as connection:
            try:
                instrument = find_instrument(connection, exchange_id, symbol)
            except UnknownSymbol:
                return None
            if dataset == "trade":
                return ensure_trade_series(connection, instrument)
            if dataset == "order_book":
                return ensure_book_series(connection, instrument)
            return ensure_candle_series(connection, instrument, timeframe(timeframe_name or ""))

    return find


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first that went wrong: the others were stopped because of it."""
    first = failures.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", first)) if isinstance(first, BaseExceptionGroup) else first
