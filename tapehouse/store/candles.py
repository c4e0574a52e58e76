"""The write of a batch of candles: one transaction for rows, coverage, quarantine and revision.

A batch and its coverage commit together, so a writer can be killed at any instant and run again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import psycopg
from psycopg.types.range import TimestamptzRange

from tapehouse.candle import VALUE_COLUMNS, CandleBatch, Float64Array, Reject
from tapehouse.errors import BeyondRetention, StoreError
from tapehouse.ranges import TimeRange, Unavailable, subtract_ranges
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.instruments import Series
from tapehouse.store.ledger import multirange, quarantine, record_coverage, record_unavailable
from tapehouse.store.rollups import BASE_TIMEFRAME
from tapehouse.store.rows import NO_ROWS, WrittenRows, read_rows, write_rows
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale, fits, to_ticks
from tapehouse.store.widening import make_room
from tapehouse.timeframe import aware_range, from_us

# Deadlocks, serialization failures and a scale that another writer changed: run again so often.
_ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What one batch changed; `rejected` counts all rejected rows, known to quarantine or not."""

    inserted: int
    changed: int
    unchanged: int
    rejected: int
    revision: int


@dataclass(frozen=True, slots=True)
class _Lock:
    scale: Scale
    known_until: datetime | None
    overlaps_covered: bool


class _DoesNotFit(Exception):
    """Some value of the batch does not fit the instrument's scale."""


def write_candles(
    connection: Connection,
    series: Series,
    batch: CandleBatch,
    *,
    asked: Sequence[TimeRange],
    covered: Sequence[TimeRange],
    rejected: Sequence[Reject] = (),
    refused: Sequence[Unavailable] = (),
) -> WriteResult:
    """Write a batch and all that is to be remembered of it, in one transaction.

    `asked` is what the exchange answered, `covered` what of it counts as fetched: every candle
    lies in it, rejected ones do not. `refused` is what the exchange would not give. Rows equal to
    what is stored are left alone, others replace it. A value that needs more decimals widens the
    instrument's scale first; a row that fits no scale joins the rejected.

    Raises BeyondRetention or StoreError; then nothing of the batch is written.
    """
    asked, covered = ([aware_range(*one) for one in ranges] for ranges in (asked, covered))
    misfits: tuple[Reject, ...] = ()
    has_room = True
    with store_errors():
        for _ in range(_ATTEMPTS):
            try:
                if not has_room:
                    batch, more_misfits = make_room(connection, series, batch)
                    misfits += more_misfits
                covered = subtract_ranges(covered, _intervals(series, misfits))
                with connection.transaction():
                    return _write(connection, series, batch, asked, covered, (*rejected, *misfits), refused)
            except _DoesNotFit:
                has_room = False
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                continue
    raise StoreError(f"{series} is being written by too many others at once: try again later.")


def _write(
    connection: Connection,
    series: Series,
    batch: CandleBatch,
    asked: Sequence[TimeRange],
    covered: Sequence[TimeRange],
    rejected: Sequence[Reject],
    refused: Sequence[Unavailable],
) -> WriteResult:
    lock = _lock(connection, series, batch)
    written = _write_rows(connection, series, batch, lock)
    quarantine(connection, series, rejected)
    holes = [Unavailable(start, end, "rejected") for start, end in subtract_ranges(asked, covered)]
    revision, is_news = record_coverage(
        connection, series, multirange(covered), changed_known=written.changed + written.inserted_known > 0
    )
    record_unavailable(connection, series, (*refused, *holes))
    if written.span and series.timeframe == BASE_TIMEFRAME:
        _mark_rollups_stale(connection, series, written.span)
    if written.span or is_news:
        _notify(connection, series, revision, written.span)
    return WriteResult(
        inserted=written.inserted,
        changed=written.changed,
        unchanged=len(batch) - written.inserted - written.changed,
        rejected=len(rejected),
        revision=revision,
    )


def _lock(connection: Connection, series: Series, batch: CandleBatch) -> _Lock:
    span = TimestamptzRange(*_span(series, batch)) if len(batch) else TimestamptzRange(empty=True)
    key = {"series_id": series.series_id, "instrument_id": series.instrument.instrument_id, "span": span}
    row = one_row(connection.execute(query("lock_series"), key))
    price_decimals, amount_decimals, known_until, overlaps, dropped_before = row
    if dropped_before and len(batch) and from_us(int(batch.time_us[0])) < dropped_before:
        raise BeyondRetention(
            f"Retention has dropped what {series} had before {dropped_before.isoformat()}: ask from there on."
        )
    return _Lock(Scale(price_decimals, amount_decimals), known_until, overlaps)


def _write_rows(connection: Connection, series: Series, batch: CandleBatch, lock: _Lock) -> WrittenRows:
    ticks = _in_ticks(batch, lock.scale)
    # Rows and coverage commit together: where nothing is covered, nothing was ever written.
    stored = read_rows(connection, series, ticks) if lock.overlaps_covered else NO_ROWS
    return write_rows(connection, series, ticks, stored=stored, known_until=lock.known_until)


def _in_ticks(batch: CandleBatch, scale: Scale) -> CandleBatch:
    """The candles in whole ticks and lots; raises _DoesNotFit."""
    columns: list[Float64Array] = []
    for name in VALUE_COLUMNS:
        values, decimals = getattr(batch, name), scale.decimals(name)
        if not fits(values, decimals).all():
            raise _DoesNotFit
        columns.append(to_ticks(values, decimals))
    return CandleBatch(batch.time_us, *columns)


def _mark_rollups_stale(connection: Connection, series: Series, span: TimeRange) -> None:
    connection.execute(
        query("mark_rollups_stale"),
        {"instrument_id": series.instrument.instrument_id, "during": TimestamptzRange(*span)},
    )


def _notify(connection: Connection, series: Series, revision: int, span: TimeRange | None) -> None:
    payload = {
        "exchange": series.instrument.exchange,
        "symbol": series.instrument.symbol,
        "dataset": "ohlcv",
        "timeframe": series.timeframe.name,
        "revision": revision,
        "written": [time.isoformat() for time in span or ()],
    }
    connection.execute(query("notify_write"), {"payload": json.dumps(payload)})


def _span(series: Series, batch: CandleBatch) -> TimeRange:
    """From the first candle's open to the last one's close."""
    return from_us(int(batch.time_us[0])), series.timeframe.close(from_us(int(batch.time_us[-1])))


def _intervals(series: Series, rejects: Sequence[Reject]) -> list[TimeRange]:
    return [(reject.time, series.timeframe.close(reject.time)) for reject in rejects if reject.time]
