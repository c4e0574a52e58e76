"""The write of a batch of any dataset: one transaction for rows, coverage, quarantine and revision.

A batch and its coverage commit together, so a writer can be killed at any instant and run again.
What the rows of a dataset are is told by its `Table`: see `candles`, `trades` and `books`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
from psycopg import errors
from psycopg.sql import SQL
from psycopg.types.range import TimestamptzRange

from tapehouse.candle import Reject
from tapehouse.errors import BeyondRetention, StoreError
from tapehouse.ranges import TimeRange, Unavailable, subtract_ranges
from tapehouse.store.arrays import Column, copy_tuples
from tapehouse.store.connection import Connection, is_embedded, one_row, store_errors
from tapehouse.store.instruments import Series
from tapehouse.store.ledger import multirange, quarantine, record_coverage, record_unavailable
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale, fits
from tapehouse.store.widening import Numbers, make_room
from tapehouse.timeframe import aware_range

# What another writer did meanwhile: run again so often.
_ATTEMPTS: Final = 5
# Besides deadlocks: rows that another writer committed after this one had looked, but before it had the lock.
_RACES: Final = (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What one batch changed; `rejected` counts all rejected rows, known to quarantine or not."""

    inserted: int
    changed: int
    unchanged: int
    rejected: int
    revision: int


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """What was written: `inserted_known` of the inserted lie where readers could already have looked.

    `span` is the time that what was written stands for.
    """

    inserted: int
    changed: int
    inserted_known: int
    span: TimeRange | None


@dataclass(frozen=True, slots=True)
class Lock:
    """What holds of a locked series: its scale, until when readers know it, and how far retention has gone.

    Where `may_be_stored` is false, nothing of the batch's span was ever written.
    """

    scale: Scale
    known_until: datetime | None
    may_be_stored: bool
    dropped_before: datetime | None


class Batch(Protocol):
    """Validated rows of one series, sorted by their key, no key twice."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def take(self, keep: npt.NDArray[np.bool_], /) -> Self:
        """The rows for which `keep` is true."""
        ...


S = TypeVar("S", bound=Series)
B = TypeVar("B", bound=Batch)
S_contra = TypeVar("S_contra", bound=Series, contravariant=True)
B_contra = TypeVar("B_contra", bound=Batch, contravariant=True)


class Table(Protocol[S_contra, B_contra]):
    """How batches of one dataset are written."""

    def span(self, series: S_contra, batch: B_contra) -> TimeRange:
        """The time that the rows of the batch, at least one, stand for."""
        ...

    def holes(self, series: S_contra, time: datetime) -> Sequence[TimeRange]:
        """What a rejected row of that time leaves open."""
        ...

    def numbers(self, batch: B_contra) -> Numbers:
        """The prices and amounts of the batch, and the rows they are in."""
        ...

    def misfit(self, batch: B_contra, row: int) -> Reject:
        """The reject for a row that fits no scale."""
        ...

    def write(self, connection: Connection, series: S_contra, batch: B_contra, lock: Lock) -> WrittenRows:
        """Write what of the batch, which fits the scale, is not stored or is stored with other values."""
        ...

    def mark_stale(self, connection: Connection, series: S_contra, span: TimeRange) -> None:
        """Note that what is derived from the rows of that span is out of date."""
        ...


class _DoesNotFit(Exception):
    """Some value of the batch does not fit the instrument's scale."""


def write_batch(
    connection: Connection,
    table: Table[S, B],
    series: S,
    batch: B,
    *,
    asked: Sequence[TimeRange],
    covered: Sequence[TimeRange],
    rejected: Sequence[Reject] = (),
    refused: Sequence[Unavailable] = (),
) -> WriteResult:
    """Write a batch and all that is to be remembered of it, in one transaction.

    `asked` is what the exchange answered, `covered` what of it counts as fetched: every row
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
                    keep = make_room(connection, series.instrument.instrument_id, len(batch), table.numbers(batch))
                    misfits += tuple(table.misfit(batch, int(row)) for row in np.flatnonzero(~keep))
                    batch = batch.take(keep)
                holes = [hole for reject in misfits if reject.time for hole in table.holes(series, reject.time)]
                left = subtract_ranges(covered, holes)
                with connection.transaction():
                    return _write(connection, table, series, batch, asked, left, (*rejected, *misfits), refused)
            except _DoesNotFit:
                has_room = False
            except _RACES:
                continue
    raise StoreError(f"{series} is being written by too many others at once: try again later.")


def record_begin(connection: Connection, series: Series, begins_at: datetime, before: TimeRange | None) -> None:
    """Note where the exchange's data of a series begins, and that there is none in `before`, in one transaction."""
    with store_errors(), connection.transaction():
        lock_series(connection, series)
        connection.execute(query("set_begin"), {"series_id": series.series_id, "begins_at": begins_at})
        covered = multirange([before] if before else [])
        revision, is_news = record_coverage(connection, series, covered, changed_known=False, inserted=0, quarantined=0)
        if is_news:
            notify_write(connection, series, revision, None)


def append_rows(
    connection: Connection, key: Mapping[str, int], columns: Mapping[str, Column], *, insert: SQL, copy_in: SQL
) -> None:
    """Write rows none of which is stored: by COPY, or by INSERT where the server has no COPY in."""
    if is_embedded(connection):
        connection.execute(insert, {**key, **columns})
        return
    with connection.cursor() as cursor, cursor.copy(copy_in) as copy:
        copy.write(copy_tuples(tuple(key.values()), tuple(columns.values())))


def lock_series(connection: Connection, series: Series, span: TimeRange | None = None) -> Lock:
    """Keep a series and its instrument's scale as they are until the transaction ends, for a change of that span."""
    key = {
        "series_id": series.series_id,
        "instrument_id": series.instrument.instrument_id,
        "span": TimestamptzRange(*span) if span else TimestamptzRange(empty=True),
    }
    price_decimals, amount_decimals, *rest = one_row(connection.execute(query("lock_series"), key))
    return Lock(Scale(price_decimals, amount_decimals), *rest)


def notify_write(connection: Connection, series: Series, revision: int, span: TimeRange | None) -> None:
    """Tell who listens, once the transaction has ended, that what is stored of a span has changed."""
    payload = {
        "exchange": series.instrument.exchange,
        "symbol": series.instrument.symbol,
        "dataset": series.dataset,
        "timeframe": series.timeframe_name,
        "revision": revision,
        "written": [time.isoformat() for time in span or ()],
    }
    connection.execute(query("notify_write"), {"payload": json.dumps(payload)})


def _write(
    connection: Connection,
    table: Table[S, B],
    series: S,
    batch: B,
    asked: Sequence[TimeRange],
    covered: Sequence[TimeRange],
    rejected: Sequence[Reject],
    refused: Sequence[Unavailable],
) -> WriteResult:
    span = table.span(series, batch) if len(batch) else None
    lock = lock_series(connection, series, span)
    _require_not_dropped(series, span, lock.dropped_before)
    _require_room(table.numbers(batch), lock.scale)
    written = table.write(connection, series, batch, lock)
    quarantined = quarantine(connection, series, rejected)
    holes = [Unavailable(start, end, "rejected") for start, end in subtract_ranges(asked, covered)]
    revision, is_news = record_coverage(
        connection,
        series,
        multirange(covered),
        changed_known=written.changed + written.inserted_known > 0,
        inserted=written.inserted,
        quarantined=quarantined,
    )
    record_unavailable(connection, series, (*refused, *holes))
    if written.span:
        table.mark_stale(connection, series, written.span)
    if written.span or is_news:
        notify_write(connection, series, revision, written.span)
    return WriteResult(
        inserted=written.inserted,
        changed=written.changed,
        unchanged=len(batch) - written.inserted - written.changed,
        rejected=len(rejected),
        revision=revision,
    )


def _require_not_dropped(series: Series, span: TimeRange | None, dropped_before: datetime | None) -> None:
    if dropped_before and span and span[0] < dropped_before:
        raise BeyondRetention(
            f"Retention has dropped what {series} had before {dropped_before.isoformat()}: ask from there on."
        )


def _require_room(numbers: Numbers, scale: Scale) -> None:
    is_room = fits(numbers.prices, scale.price_decimals).all() and fits(numbers.amounts, scale.amount_decimals).all()
    if not is_room:
        raise _DoesNotFit
