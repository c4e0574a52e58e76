"""The candle rollups: which there are, which ranges they are behind on, and refreshing those.

What was written since the last refresh is in `stale_rollup`, put there by the write itself, so a
refresh touches those days and no others. It goes step by step, each settled as it is done: one that is
killed loses a step at most, and goes on there.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg import sql
from psycopg.types.range import TimestamptzRange

from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.arrays import IntegerColumn
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.instruments import Dataset
from tapehouse.store.locks import advisory_lock
from tapehouse.store.races import try_again
from tapehouse.store.sql import query
from tapehouse.timeframe import EPOCH, Timeframe, timeframe

# The candles from which the first rollup is built.
BASE_TIMEFRAME: Final = timeframe("1m")
# Bottom-up: each is built from the one before it.
ROLLUPS: Final = tuple(timeframe(name) for name in ("5m", "15m", "1h", "4h", "1d"))
# Candles built from trades; the longer ones from the shorter.
TRADE_CANDLES: Final = tuple(timeframe(name) for name in ("1s", "1m"))

# Any constant does, as long as every tapehouse uses the same: "roll" in ASCII.
_LOCK_KEY: Final = 0x726F6C6C
_LOCK_WAIT_S: Final = 600.0
_LOCK_BUSY: Final = "Another refresh of the rollups has been running for ten minutes: try again later."
_VIEW_BUSY: Final = "Another program is refreshing the rollups: try again later."


@dataclass(frozen=True, slots=True)
class _Family:
    """The rollups over one dataset, bottom-up; they are refreshed by whole `units`, at most a `step` at a time.

    Steps are those of the chunks that hold the dataset's rows.
    """

    dataset: Dataset
    views: tuple[tuple[str, Timeframe], ...]
    unit: Timeframe
    step: timedelta


_FAMILIES: Final = (
    _Family(
        "ohlcv", tuple((f"candle_{rollup}", rollup) for rollup in ROLLUPS), timeframe("1d"), step=timedelta(days=30)
    ),
    _Family(
        "trade",
        tuple((f"trade_candle_{rollup}", rollup) for rollup in TRADE_CANDLES),
        timeframe("1h"),
        step=timedelta(days=1),
    ),
)


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """The ranges that were refreshed on every level, and how many notes of stale ranges that settled."""

    candles: tuple[TimeRange, ...]
    trade_candles: tuple[TimeRange, ...]
    settled: int

    @property
    def ranges(self) -> list[TimeRange]:
        """What was refreshed of any rollup."""
        return merge_ranges((*self.candles, *self.trade_candles))


def refresh_rollups(
    connection: Connection, *, progress: Callable[[str, TimeRange], None] | None = None
) -> RefreshResult:
    """Refresh all rollups over exactly what was written since they were last refreshed.

    Those of 1m candles by whole days, those of trades by whole hours. Buckets that have not ended
    yet are left to the real-time part of the views, and their day or hour stays noted as stale.
    Calls `progress` with the rollup's name and the range before each level of each range.
    """
    # TimescaleDB 2.23 silently skips a refresh that overlaps another one; its notes must not be
    # removed then, so only one process refreshes at a time.
    with store_errors(), refresh_lock(connection):
        (candles, settled), (trade_candles, more) = (
            _refresh_family(connection, family, progress) for family in _FAMILIES
        )
    return RefreshResult(tuple(candles), tuple(trade_candles), settled + more)


def refresh_lock(connection: Connection) -> AbstractContextManager[None]:
    """Let nobody else refresh the rollups while the block runs; raises StoreError after ten minutes in vain."""
    return advisory_lock(connection, _LOCK_KEY, wait_s=_LOCK_WAIT_S, busy=_LOCK_BUSY)


def _refresh_family(
    connection: Connection, family: _Family, progress: Callable[[str, TimeRange], None] | None
) -> tuple[list[TimeRange], int]:
    now, floor = _bounds(connection, family)
    refreshed: list[TimeRange] = []
    settled = 0
    # Newest first: what a level's view has after its newest bucket is worked out from the 1m candles on
    # every read, also on that of the level above it.
    for step in reversed(list(_steps(_touched(connection, family), family.step))):
        # Read before the refresh: what is written while it runs leaves a note that stays.
        stale_ids = _read_notes(connection, family, step)
        start, end = max(step[0], floor) if floor else step[0], step[1]
        if start < end:
            _refresh_levels(connection, family, (start, end), now, progress)
            refreshed.append((start, end))
        settled += _settle(connection, stale_ids, (step[0], min(end, family.unit.floor(now))))
    return merge_ranges(refreshed), settled


def _bounds(connection: Connection, family: _Family) -> tuple[datetime, datetime | None]:
    """The server's time, and the time before which no refresh may reach.

    Retention has dropped the rows before that; refreshing there would empty the rollups.
    """
    timeframe_s = BASE_TIMEFRAME.seconds if family.dataset == "ohlcv" else 0
    parameters = {"dataset": family.dataset, "timeframe_s": timeframe_s}
    now, dropped_before = one_row(connection.execute(query("read_refresh_bounds"), parameters))
    return now, dropped_before


def _touched(connection: Connection, family: _Family) -> list[TimeRange]:
    """The units that notes touch, as the fewest ranges, oldest first."""
    parameters = {"dataset": family.dataset, "unit": family.unit.length}
    return list(connection.execute(query("read_stale_units"), parameters))


def _steps(ranges: Iterable[TimeRange], step: timedelta) -> Iterator[TimeRange]:
    """The ranges, cut at multiples of a step."""
    for start, end in ranges:
        while start < end:
            stop = min(end, start - (start - EPOCH) % step + step)
            yield start, stop
            start = stop


def _read_notes(connection: Connection, family: _Family, span: TimeRange) -> IntegerColumn | None:
    parameters = {"dataset": family.dataset, "span": TimestamptzRange(*span)}
    (stale_ids,) = one_row(connection.execute(query("read_stale_rollups"), parameters, binary=True))
    return None if stale_ids is None else IntegerColumn(stale_ids)


def _refresh_levels(
    connection: Connection,
    family: _Family,
    span: TimeRange,
    now: datetime,
    progress: Callable[[str, TimeRange], None] | None,
) -> None:
    for view, rollup in family.views:
        if progress:
            progress(view, span)
        # All of a step at once: TimescaleDB's own batches are small, and each begins anew.
        buckets = family.step // rollup.length
        _refresh(connection, view, buckets, span[0], min(span[1], rollup.floor(now)))


def _refresh(connection: Connection, view: str, buckets: int, start: datetime, end: datetime) -> None:
    if start >= end:
        return
    statement = query("refresh_rollup").format(rollup_name=sql.Literal(view), buckets=sql.Literal(buckets))
    try_again(lambda: connection.execute(statement, {"start": start, "end": end}), busy=_VIEW_BUSY)


def _settle(connection: Connection, stale_ids: IntegerColumn | None, refreshed: TimeRange) -> int:
    """Remove what the notes say of a range that was refreshed; returns how many said nothing else."""
    if stale_ids is None:
        return 0
    during = TimestamptzRange(*refreshed) if refreshed[0] < refreshed[1] else TimestamptzRange(empty=True)
    (settled,) = one_row(
        connection.execute(query("settle_stale_rollups"), {"stale_ids": stale_ids, "refreshed": during})
    )
    return settled
