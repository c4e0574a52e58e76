"""The candle rollups: which there are, which ranges they are behind on, and refreshing those.

What was written since the last refresh is in `stale_rollup`, put there by the write itself, so a
refresh touches those days and no others, and one that is killed is done again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg import sql
from psycopg.types.range import TimestamptzRange

from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.instruments import Dataset
from tapehouse.store.locks import advisory_lock
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, timeframe

# The candles from which the first rollup is built.
BASE_TIMEFRAME: Final = timeframe("1m")
# Bottom-up: each is built from the one before it.
ROLLUPS: Final = tuple(timeframe(name) for name in ("5m", "15m", "1h", "4h", "1d"))
# Candles built from trades; the longer ones from the shorter.
TRADE_CANDLES: Final = tuple(timeframe(name) for name in ("1s", "1m"))

# TimescaleDB refreshes few buckets at a time by itself, and spends its time on beginning anew.
_FEWEST_BUCKETS: Final = 2016
_DAY: Final = timedelta(days=1)
# Any constant does, as long as every tapehouse uses the same: "roll" in ASCII.
_LOCK_KEY: Final = 0x726F6C6C
_LOCK_WAIT_S: Final = 600.0
_LOCK_BUSY: Final = "Another refresh of the rollups has been running for ten minutes: try again later."


@dataclass(frozen=True, slots=True)
class _Family:
    """The rollups over one dataset, bottom-up; they are refreshed by whole `units`."""

    dataset: Dataset
    views: tuple[tuple[str, Timeframe], ...]
    unit: Timeframe


_FAMILIES: Final = (
    _Family("ohlcv", tuple((f"candle_{rollup}", rollup) for rollup in ROLLUPS), timeframe("1d")),
    _Family("trade", tuple((f"trade_candle_{rollup}", rollup) for rollup in TRADE_CANDLES), timeframe("1h")),
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
    with store_errors(), advisory_lock(connection, _LOCK_KEY, wait_s=_LOCK_WAIT_S, busy=_LOCK_BUSY):
        (candles, settled), (trade_candles, more) = (
            _refresh_family(connection, family, progress) for family in _FAMILIES
        )
    return RefreshResult(tuple(candles), tuple(trade_candles), settled + more)


def _refresh_family(
    connection: Connection, family: _Family, progress: Callable[[str, TimeRange], None] | None
) -> tuple[list[TimeRange], int]:
    stale = connection.execute(query("read_stale_rollups"), {"dataset": family.dataset}).fetchall()
    now, floor = _bounds(connection, family)
    touched = _touched([during for _, _, during in stale], family.unit, floor)
    for start, end in touched:
        for view, rollup in family.views:
            if progress:
                progress(view, (start, end))
            _refresh(connection, view, rollup, start, min(end, rollup.floor(now)))
    return touched, _settle(connection, family, stale, family.unit.floor(now))


def _bounds(connection: Connection, family: _Family) -> tuple[datetime, datetime | None]:
    """The server's time, and the time before which no refresh may reach.

    Retention has dropped the rows before that; refreshing there would empty the rollups.
    """
    timeframe_s = BASE_TIMEFRAME.seconds if family.dataset == "ohlcv" else 0
    parameters = {"dataset": family.dataset, "timeframe_s": timeframe_s}
    now, dropped_before = one_row(connection.execute(query("read_refresh_bounds"), parameters))
    return now, dropped_before


def _touched(stale: Sequence[TimestamptzRange], unit: Timeframe, floor: datetime | None) -> list[TimeRange]:
    touched: list[TimeRange] = []
    for during in stale:
        if during.lower is None or during.upper is None:
            continue
        start, end = unit.floor(during.lower), unit.ceil(during.upper)
        touched.append((max(start, floor) if floor else start, end))
    return merge_ranges(touched)


def _refresh(connection: Connection, view: str, rollup: Timeframe, start: datetime, end: datetime) -> None:
    if start >= end:
        return
    buckets = max(_FEWEST_BUCKETS, _DAY // rollup.length)
    statement = query("refresh_rollup").format(rollup_name=sql.Literal(view), buckets=sql.Literal(buckets))
    connection.execute(statement, {"start": start, "end": end})


def _settle(
    connection: Connection, family: _Family, stale: Sequence[tuple[int, int, TimestamptzRange]], current: datetime
) -> int:
    """Remove the notes that were made good; of those that reach into the current unit, keep that part."""
    still_stale: dict[int, list[TimeRange]] = {}
    for _, instrument_id, during in stale:
        if during.lower is not None and during.upper is not None and during.upper > current:
            still_stale.setdefault(instrument_id, []).append((max(during.lower, current), during.upper))
    with connection.transaction():
        connection.execute(query("delete_stale_rollups"), {"stale_ids": [stale_id for stale_id, _, _ in stale]})
        for instrument_id, ranges in still_stale.items():
            for span in merge_ranges(ranges):
                note = {
                    "instrument_id": instrument_id,
                    "dataset": family.dataset,
                    "during": TimestamptzRange(*span),
                }
                connection.execute(query("mark_rollups_stale"), note)
    return len(stale)
