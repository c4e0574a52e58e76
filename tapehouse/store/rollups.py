"""The candle rollups: which there are, which ranges they are behind on, and refreshing those.

What was written since the last refresh is in `stale_rollup`, put there by the write itself, so a
refresh touches those days and no others, and one that is killed is done again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg import sql
from psycopg.types.range import TimestamptzRange

from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.locks import advisory_lock
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, timeframe

# The candles from which the first rollup is built.
BASE_TIMEFRAME: Final = timeframe("1m")
# Bottom-up: each is built from the one before it.
ROLLUPS: Final = tuple(timeframe(name) for name in ("5m", "15m", "1h", "4h", "1d"))

_DAY: Final = timeframe("1d")
# Any constant does, as long as every tapehouse uses the same: "roll" in ASCII.
_LOCK_KEY: Final = 0x726F6C6C
_LOCK_WAIT_S: Final = 600.0
_LOCK_BUSY: Final = "Another refresh of the rollups has been running for ten minutes: try again later."


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """The day ranges that were refreshed on every level, and how many notes of stale ranges that settled."""

    days: tuple[TimeRange, ...]
    settled: int


def refresh_rollups(
    connection: Connection, *, progress: Callable[[Timeframe, TimeRange], None] | None = None
) -> RefreshResult:
    """Refresh all rollups over exactly the days that were written since they were last refreshed.

    Buckets that have not ended yet are left to the real-time part of the views, and their days
    stay noted as stale. Calls `progress` before each level of each range.
    """
    # TimescaleDB 2.23 silently skips a refresh that overlaps another one; its notes must not be
    # removed then, so only one process refreshes at a time.
    with store_errors(), advisory_lock(connection, _LOCK_KEY, wait_s=_LOCK_WAIT_S, busy=_LOCK_BUSY):
        stale = connection.execute(query("read_stale_rollups")).fetchall()
        now, floor = _bounds(connection)
        days = _touched_days([during for _, _, during in stale], floor)
        for start, end in days:
            for rollup in ROLLUPS:
                if progress:
                    progress(rollup, (start, end))
                _refresh(connection, rollup, start, min(end, rollup.floor(now)))
        settled = _settle(connection, stale, _DAY.floor(now))
    return RefreshResult(tuple(days), settled)


def _bounds(connection: Connection) -> tuple[datetime, datetime | None]:
    """The server's time, and the time before which no refresh may reach.

    Retention has dropped the 1m candles before that; refreshing there would empty the rollups.
    """
    now, dropped_before = one_row(connection.execute(query("read_refresh_bounds")))
    return now, dropped_before


def _touched_days(stale: Sequence[TimestamptzRange], floor: datetime | None) -> list[TimeRange]:
    days: list[TimeRange] = []
    for during in stale:
        if during.lower is None or during.upper is None:
            continue
        start, end = _DAY.floor(during.lower), _DAY.ceil(during.upper)
        days.append((max(start, floor) if floor else start, end))
    return merge_ranges(days)


def _refresh(connection: Connection, rollup: Timeframe, start: datetime, end: datetime) -> None:
    if start >= end:
        return
    statement = query("refresh_rollup").format(rollup_name=sql.Literal(f"candle_{rollup}"))
    connection.execute(statement, {"start": start, "end": end})


def _settle(connection: Connection, stale: Sequence[tuple[int, int, TimestamptzRange]], today: datetime) -> int:
    """Remove the notes that were made good; of those that reach into today, keep that part."""
    still_stale: dict[int, list[TimeRange]] = {}
    for _, instrument_id, during in stale:
        if during.lower is not None and during.upper is not None and during.upper > today:
            still_stale.setdefault(instrument_id, []).append((max(during.lower, today), during.upper))
    with connection.transaction():
        connection.execute(query("delete_stale_rollups"), {"stale_ids": [stale_id for stale_id, _, _ in stale]})
        for instrument_id, ranges in still_stale.items():
            for start, end in merge_ranges(ranges):
                connection.execute(
                    query("mark_rollups_stale"),
                    {"instrument_id": instrument_id, "during": TimestamptzRange(start, end)},
                )
    return len(stale)
