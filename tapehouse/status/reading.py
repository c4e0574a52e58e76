"""Reading a status: a few statements on ledgers and catalogues, in one snapshot, however much data there is."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import numpy as np
from psycopg.rows import class_row, dict_row

from tapehouse.status.disk import read_disk
from tapehouse.status.gaps import Gaps, gaps_between
from tapehouse.status.records import (
    DatabaseStatus,
    JobStatus,
    RetentionStatus,
    RollupStatus,
    SeriesStatus,
    Status,
    TableStatus,
)
from tapehouse.store.arrays import BytesLoader, received_ranges
from tapehouse.store.connection import Connection, is_embedded, one_row, snapshot, store_errors
from tapehouse.store.retention import Kept, read_kept
from tapehouse.store.sql import query
from tapehouse.timeframe import from_us, timeframe_of_seconds, to_us

_GROWTH_DAYS: Final = 30
_DAY_S: Final = 86_400


def read_status(connection: Connection) -> Status:
    """How the store is doing now; raises StoreError and its kinds."""
    with store_errors(), snapshot(connection):
        row = one_row(connection.execute(query("read_database_status")))
        now, postgresql, timescaledb, workers, size, directory = row
        tables = _read_tables(connection)
        return Status(
            read_at=now,
            database=DatabaseStatus(
                postgresql=postgresql,
                timescaledb=timescaledb,
                is_embedded=is_embedded(connection),
                runs_jobs=workers > 0 and not is_embedded(connection),
                bytes=size,
                grown_bytes_per_day=_grown_bytes_per_day(tables, now),
            ),
            disk=read_disk(connection, directory),
            series=_read_series(connection, now),
            tables=tables,
            rollups=_read_rollups(connection),
            retention=_read_retention(connection),
            jobs=_read_jobs(connection),
        )


def _read_series(connection: Connection, now: datetime) -> tuple[SeriesStatus, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        # Decoded one by one, the ranges of 500 series would take seconds.
        cursor.adapters.register_loader("tstzmultirange", BytesLoader)
        rows = cursor.execute(query("read_series_status"), binary=True).fetchall()
    gaps = _gaps(rows)
    longest_us = zip(gaps.longest_start_us.tolist(), gaps.longest_end_us.tolist(), strict=True)
    found = zip(rows, gaps.count.tolist(), longest_us, strict=True)
    return tuple(_series(now, number, longest, **row) for row, number, longest in found)


def _gaps(rows: list[dict[str, Any]]) -> Gaps:
    """What is missing of the series, whose bounds are taken out of the rows."""
    start_us, end_us, count = received_ranges([row.pop("settled") for row in rows])
    windows = [(row.pop("first"), row.pop("stop")) for row in rows]
    bounds_us = [(to_us(first), to_us(stop)) if first and stop and first < stop else (0, 0) for first, stop in windows]
    first_us, stop_us = np.array(bounds_us, dtype=np.int64).reshape(-1, 2).T
    return gaps_between(start_us, end_us, count, first_us=first_us, stop_us=stop_us)


def _series(
    now: datetime,
    gaps: int,
    longest_us: tuple[int, int],
    *,
    timeframe_s: int,
    covered_until: datetime | None,
    asked_at: datetime | None,
    asked_before: datetime | None,
    **columns: Any,  # noqa: ANN401 -- columns of a query
) -> SeriesStatus:
    asked_every_s = (asked_at - asked_before).total_seconds() if asked_at and asked_before else None
    longest_gap_start, longest_gap_end = map(from_us, longest_us) if gaps else (None, None)
    return SeriesStatus(
        timeframe=timeframe_of_seconds(timeframe_s).name if timeframe_s else None,
        covered_until=covered_until,
        # Order books count until their next tick, which may be seconds ahead.
        lag_s=max((now - covered_until).total_seconds(), 0.0) if covered_until else None,
        interval_s=float(timeframe_s) if timeframe_s else asked_every_s,
        asked_at=asked_at,
        asked_every_s=asked_every_s,
        gaps=gaps,
        longest_gap_start=longest_gap_start,
        longest_gap_end=longest_gap_end,
        **columns,
    )


def _read_tables(connection: Connection) -> tuple[TableStatus, ...]:
    with connection.cursor(row_factory=class_row(TableStatus)) as cursor:
        return tuple(cursor.execute(query("read_storage_tables")).fetchall())


def _grown_bytes_per_day(tables: tuple[TableStatus, ...], now: datetime) -> float | None:
    """What came in a day, over the last 30 days or since the first chunk; None before there is one."""
    first_made_at = min((one.first_made_at for one in tables if one.first_made_at), default=None)
    if first_made_at is None:
        return None
    # What came within the first day is no rate yet.
    days = min(max((now - first_made_at).total_seconds() / _DAY_S, 1.0), _GROWTH_DAYS)
    return sum(one.new_bytes for one in tables) / days


def _read_rollups(connection: Connection) -> tuple[RollupStatus, ...]:
    with connection.cursor(row_factory=class_row(RollupStatus)) as cursor:
        return tuple(cursor.execute(query("read_rollup_status")).fetchall())


def _read_retention(connection: Connection) -> tuple[RetentionStatus, ...]:
    kept = read_kept(connection)
    limited = [one for one in kept if one.keep is not None]
    parameters = {"datasets": [one.dataset for one in limited], "keeps": [one.keep for one in limited]}
    rows = connection.execute(query("read_overdue_retention"), parameters).fetchall()
    found: dict[str, list[Any]] = {dataset: rest for dataset, *rest in rows}
    return tuple(_retention(one, *found.get(one.dataset, [0, None, None, False])) for one in kept)


def _retention(
    kept: Kept, overdue: int, overdue_since: datetime | None, held_from: datetime | None, is_archived: bool
) -> RetentionStatus:
    return RetentionStatus(
        **asdict(kept), overdue=overdue, overdue_since=overdue_since, held_from=held_from, is_archived=is_archived
    )


def _read_jobs(connection: Connection) -> tuple[JobStatus, ...]:
    with connection.cursor(row_factory=class_row(JobStatus)) as cursor:
        return tuple(cursor.execute(query("read_storage_jobs")).fetchall())
