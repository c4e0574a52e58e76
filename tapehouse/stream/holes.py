"""What a stream has missed, fetched by requests through the ordinary ingest; and what it is silent about, asked for."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from datetime import datetime
from math import inf
from typing import Final

from tapehouse.errors import ExchangeError, PermanentError, QualityError, StoreUnreachable
from tapehouse.exchange import Exchange
from tapehouse.ingest import IngestPlan, ingest_chunk, ingest_plan, plan_series
from tapehouse.ingest.pages import finish_in_thread
from tapehouse.ingest.plan import TRAILING_TRADES
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import BookSeries, CandleSeries, TradeSeries
from tapehouse.store.ledger import begin_of, record_asked, record_failed
from tapehouse.stream.candle_lane import CandleLane
from tapehouse.stream.parcel import Hole, Lane
from tapehouse.stream.request import LONGEST_CATCH_UP
from tapehouse.stream.statistics import StreamStatistics
from tapehouse.stream.trade_lane import TradeLane
from tapehouse.timeframe import to_ms

_LOOK_S: Final = 0.25
# A series that is silent for so long is asked for, since nothing else tells whether it is quiet or not heard.
_SILENCE_S: Final = 60.0
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 2.0

_logger = logging.getLogger(__name__)


class HoleFiller:
    """Fetches what lanes have missed, over a connection of its own, one hole after another."""

    def __init__(
        self, exchange: Exchange, database_url: str, lanes: Sequence[Lane], statistics: StreamStatistics
    ) -> None:
        self._exchange = exchange
        self._database_url = database_url
        self._lanes = lanes
        self._statistics = statistics
        # What was missed and not asked for yet, which outlives the connection.
        self._waiting: deque[tuple[Lane, Hole]] = deque()
        # What came since the last run is asked for at once.
        self._asked_at_s = dict.fromkeys(range(len(lanes)), -inf)

    async def run(self) -> None:
        """Fill holes for ever, as they come."""
        while True:
            try:
                # In threads, all that could have to wait for the database: the stream does not.
                async with _connected(self._database_url) as connection:
                    await self._fill_over(connection)
            except StoreUnreachable as error:
                _logger.warning("%s What was missed is asked for when it is back.", error)
                await asyncio.sleep(_PAUSE_S)

    async def _fill_over(self, connection: Connection) -> None:
        while True:
            for place, lane in enumerate(self._lanes):
                for hole in lane.take_holes():
                    self._statistics.holes += 1
                    self._waiting.append((lane, hole))
                while self._waiting:
                    await self._fill(connection, *self._waiting[0])
                    self._waiting.popleft()
                await self._look_after(connection, place, lane)
            await asyncio.sleep(_LOOK_S)

    async def _fill(self, connection: Connection, lane: Lane, hole: Hole) -> None:
        """Fetch it, or leave it to be repaired later; either way what waits for it goes on."""
        is_filled = await self._try_to_fill(connection, lane, hole)
        lane.fill(hole)
        self._statistics.filled += is_filled
        self._statistics.missed += not is_filled

    async def _try_to_fill(self, connection: Connection, lane: Lane, hole: Hole) -> bool:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._ask_for(connection, lane, hole)
            except ExchangeError as error:
                if attempt == _ATTEMPTS or isinstance(error, PermanentError):
                    await finish_in_thread(lambda: record_failed(connection, lane.series, hole.span))
                    _logger.warning("%s What %s lacks there is a gap now, see `tapehouse gaps`.", error, lane.series)
                    break
                await asyncio.sleep(_PAUSE_S * attempt)
            else:
                return True
        return False

    async def _ask_for(self, connection: Connection, lane: Lane, hole: Hole) -> None:
        series = lane.series
        assert not isinstance(series, BookSeries)
        start, end = hole.span
        await self._until(end)
        try:
            await ingest_chunk(self._exchange, connection, series, (start, end))
        except QualityError as error:
            _logger.warning("%s", error)

    async def _until(self, end: datetime) -> None:
        """Return once that time has come by the exchange's clock: only what is over can be asked for."""
        now = self._exchange.told_now()
        if now < end:
            now = await self._exchange.read_clock()
        await asyncio.sleep(max(0.0, (end - now).total_seconds()))

    async def _look_after(self, connection: Connection, place: int, lane: Lane) -> None:
        """Note, now and then, that the series is followed, and ask for it if nothing has come of it for long."""
        now_s = time.monotonic()
        if now_s - self._asked_at_s[place] < _SILENCE_S:
            return
        # That it is followed was noted when its lane was opened.
        is_first, self._asked_at_s[place] = self._asked_at_s[place] == -inf, now_s
        if not is_first:
            await finish_in_thread(lambda: record_asked(connection, lane.series))
        match lane:
            case TradeLane() | CandleLane() if now_s - lane.last_told_s > _patience_s(lane):
                await self._catch_up(connection, lane)
            case _:
                pass

    async def _catch_up(self, connection: Connection, lane: TradeLane | CandleLane) -> None:
        """Ask for what is missing up to now, of the time since the series begins here; at most of the last day."""
        try:
            now = await self._exchange.now()
            if (plan := await finish_in_thread(lambda: _plan(connection, lane.series, now))) is None:
                return
            await ingest_plan(self._exchange, connection, lane.series, plan)
            # The last seconds are asked for again, in which some may have come late.
            lane.note_known(to_ms(now - TRAILING_TRADES))
        except (ExchangeError, QualityError) as error:
            _logger.warning("%s", error)


def _plan(connection: Connection, series: TradeSeries | CandleSeries, now: datetime) -> IngestPlan | None:
    """What is missing, None where nothing was ever fetched, or by that time: a replay begins before what it stores."""
    _, covered_from, _ = begin_of(connection, series)
    if covered_from is None or covered_from >= now:
        return None
    return plan_series(connection, series, max(covered_from, now - LONGEST_CATCH_UP), now, now=now)


@asynccontextmanager
async def _connected(database_url: str) -> AsyncGenerator[Connection]:
    """A connection that is made in a thread, and closed also where nobody waits for it any more."""
    connecting = asyncio.create_task(asyncio.to_thread(connect, database_url))
    try:
        connection = await asyncio.shield(connecting)
    except asyncio.CancelledError:
        with suppress(StoreUnreachable):
            (await connecting).close()
        raise
    with closing(connection):
        yield connection


def _patience_s(lane: TradeLane | CandleLane) -> float:
    """How long a silence means nothing."""
    return _SILENCE_S if isinstance(lane, TradeLane) else _SILENCE_S + lane.series.timeframe.seconds
