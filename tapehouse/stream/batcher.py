"""Batches of what is streamed, on their way to the store: in memory up to a bound, then on disk; none is lost.

While the database is away, trades and candles are kept, on disk where memory may hold no more; of an order book the
newest snapshot is. Writing to disk holds up what reads from the exchange, and so, at last, the exchange.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tapehouse.errors import BeyondRetention, InputError, StoreUnreachable
from tapehouse.store.batch import WriteResult
from tapehouse.stream.book_lane import BookLane
from tapehouse.stream.parcel import Lane, Parcel
from tapehouse.stream.spill import Spill
from tapehouse.stream.statistics import StreamStatistics
from tapehouse.stream.telling import Telling
from tapehouse.stream.trade_lane import TradeLane
from tapehouse.stream.writer import Writer
from tapehouse.timeframe import to_us

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 5.0
# What goes to disk does so in pieces of so many rows: each is a transaction of its own later.
_PIECE_ROWS: Final = 1000
# A database that comes and goes is no reason to wait for ever at the end.
LAST_TRY_S: Final = 10.0
# So long a write that has begun may take when it is to end.
_LAST_WRITE_S: Final = 3.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Flushing:
    """When what was streamed is written: once so many rows wait, or the oldest has waited so long.

    No more than about `most_waiting` rows wait in memory. Raises InputError for what makes no sense.
    """

    rows: int = 100
    every: timedelta = timedelta(seconds=5)
    most_waiting: int = 50_000

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise InputError("A flush needs at least one row: give --flush-rows 1 or more.")
        if self.every <= timedelta(0):
            raise InputError("Flushes need some time between them: give --flush-every 100ms or more.")
        if self.most_waiting < self.rows:
            raise InputError(f"{self.most_waiting} rows in memory are fewer than one flush of {self.rows}: allow more.")


class Batcher:
    """Writes what the lanes hand over, in a thread of its own, one transaction a series."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        writer: Writer,
        spill: Spill,
        flushing: Flushing,
        statistics: StreamStatistics,
        telling: Telling | None = None,
    ) -> None:
        self._lanes = lanes
        self._writer = writer
        self._spill = spill
        self._flushing = flushing
        self._statistics = statistics
        self._telling = telling
        # Taken from the lanes, and not written yet: what is being tried, and what waits behind it.
        self._pending: deque[Parcel] = deque()
        self._pending_rows = 0
        self._due = asyncio.Event()
        # Since the last flush began: rows that wait for something else than a flush make none due.
        self._told = 0

    def told(self) -> None:
        """A row has come into a lane."""
        statistics = self._statistics
        statistics.received += 1
        statistics.waiting += 1
        self._told += 1
        if self._told >= self._flushing.rows:
            self._due.set()
        if statistics.waiting > self._flushing.most_waiting and self._rows_in_lanes >= _PIECE_ROWS:
            self._make_room()

    async def run(self) -> None:
        """Flush for ever, whenever that is due; raises StoreError for what waiting does not mend."""
        while True:
            try:
                async with asyncio.timeout(self._flushing.every.total_seconds()):
                    await self._due.wait()
            except TimeoutError:
                pass
            await self.flush()

    async def flush(self) -> None:
        """Write all that waits, on disk and in memory; while the database is away this goes on trying."""
        self._due.clear()
        self._told = 0
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._write_all()
            except StoreUnreachable as error:
                self._statistics.retried += 1
                _logger.warning("%s %d rows wait.", error, self._statistics.waiting + self._statistics.spilled)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return

    async def finish(self) -> None:
        """Write all that waits, or keep it on disk where that can't be done at once."""
        for lane in self._lanes:
            lane.close()
        try:
            async with asyncio.timeout(LAST_TRY_S):
                await self._write_all()
        except TimeoutError:
            _logger.warning("The database takes too long. What waits is kept for the next start.")
        except StoreUnreachable as error:
            _logger.warning("%s What waits is kept for the next start.", error)
        finally:
            self._collect()
            while self._pending:
                parcel = self._pending[0]
                self._keep(parcel)
                self._pop_pending(len(parcel.rows))

    async def _write_all(self) -> None:
        """In the order in which it came: what is being tried, what is on disk, what has come since."""
        await self._write_pending()
        while (parcel := self._spill.first()) is not None:
            await self._write(parcel, self._drop_spilled)
        self._statistics.spilled = self._spill.rows
        self._collect()
        await self._write_pending()

    async def _write_pending(self) -> None:
        while self._pending:
            await self._write(self._pending[0], self._pop_pending)

    async def _write(self, parcel: Parcel, forget: Callable[[int], None]) -> None:
        """Write a parcel, and forget it once it is written, also if this is cancelled meanwhile."""
        written: WriteResult | None = None

        def work() -> None:
            nonlocal written
            try:
                written = self._writer.write(parcel)
            except BeyondRetention as error:
                # However often it was tried again, and by which run.
                _logger.warning("%s %d rows are left out.", error, len(parcel.rows))
                written = WriteResult(0, 0, 0, 0, 0)

        try:
            await self._in_thread(work)
        finally:
            if written is not None:
                self._statistics.count(parcel, written, time.monotonic())
                forget(len(parcel.rows))
                self._tell_stored(parcel)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Run it in a thread; when cancelled, wait for it first, but not for a database that hangs."""
        running = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running], timeout=_LAST_WRITE_S)
            if not running.done():
                self._writer.interrupt()
            await asyncio.gather(running, return_exceptions=True)
            raise

    def _drop_spilled(self, rows: int) -> None:  # noqa: ARG002 -- it knows
        self._spill.drop()
        self._statistics.spilled = self._spill.rows

    def _tell_stored(self, parcel: Parcel) -> None:
        """Tell readers up to where all is in the database, unless what was streamed before still waits for a hole."""
        is_waiting = any(isinstance(lane, TradeLane) and lane.has_holes for lane in self._lanes)
        if self._telling is not None and parcel.windows and not is_waiting and not self._spill.rows:
            self._telling.store(parcel.series, to_us(max(end for _, end in parcel.windows)))

    def _collect(self) -> None:
        now_s = time.monotonic()
        parcels = [parcel for lane in self._lanes if (parcel := lane.take(now_s)) is not None]
        self._pending += parcels
        self._pending_rows += sum(len(parcel.rows) for parcel in parcels)

    def _pop_pending(self, rows: int) -> None:
        self._pending.popleft()
        self._pending_rows -= rows
        self._statistics.waiting -= rows

    @property
    def _rows_in_lanes(self) -> int:
        return self._statistics.waiting - self._pending_rows

    def _make_room(self) -> None:
        """Memory may hold no more: books are let go but for the newest, all else goes to disk."""
        now_s = time.monotonic()
        for lane in self._lanes:
            if isinstance(lane, BookLane):
                before = lane.coalesced
                lane.coalesce()
                self._statistics.coalesced += lane.coalesced - before
                self._statistics.waiting -= lane.coalesced - before
            elif (parcel := lane.take(now_s)) is not None:
                self._statistics.waiting -= len(parcel.rows)
                self._keep(parcel)

    def _keep(self, parcel: Parcel) -> None:
        self._spill.append(parcel)
        self._statistics.spilled = self._spill.rows
