"""Deleting stored rows of a series, together with all that is remembered of them.

Quarantine stays: what an exchange once sent, and how it was wrong, is evidence and no row of the series.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import sql
from psycopg.types.range import TimestamptzRange

from tapehouse.ranges import TimeRange, intersect_ranges, merge_ranges
from tapehouse.store.batch import lock_series, notify_write
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.instruments import CandleSeries, Series
from tapehouse.store.ledger import mark_features_stale, mark_rollups_stale
from tapehouse.store.races import try_again
from tapehouse.store.remains import delete_remains, delete_unreached_imbalances
from tapehouse.store.rollups import BASE_TIMEFRAME
from tapehouse.store.sql import query
from tapehouse.timeframe import aware_range, aware_utc, from_us, to_us

# So many rows are deleted in a transaction; trades of one time stay together.
_ROWS_A_STEP: Final = 50_000
_ALL_ROWS: Final = 2**62


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion takes from a series: of `span`, so many rows, and what of it was covered, oldest first."""

    span: TimeRange
    rows: int
    covered: tuple[TimeRange, ...]


def preview_deletion(
    connection: Connection, series: Series, start: datetime | None = None, end: datetime | None = None
) -> Deletion | None:
    """What `delete_rows` would take away now; None where nothing of the series is stored or known."""
    with store_errors(), connection.transaction():
        known, covered = _read_known(connection, series)
        span = _clip(series, known, start, end)
        if span is None:
            return None
        rows, _ = _find_newest(connection, series, span, most=_ALL_ROWS)
        return Deletion(span, rows, tuple(intersect_ranges(covered, [span])))


def delete_rows(
    connection: Connection,
    series: Series,
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    progress: Callable[[Deletion], None] | None = None,
) -> Deletion | None:
    """Delete what is stored and known of a series in [start, end): of candles those that open in it.

    Without `start` or `end`, all on that side. Newest first and so many rows in a transaction: one that is
    killed leaves what is older as it was, and is done by running it again. Calls `progress` with each
    step. What is derived from the rows is noted as stale. Returns None where there was nothing.

    Raises NaiveDatetime, ReversedRange or StoreError.
    """
    with store_errors():
        span = _clip(series, _read_known(connection, series)[0], start, end)
    if span is None:
        return None
    first, left_until = span
    steps: list[Deletion] = []
    while first < left_until:
        steps.append(_delete_newest(connection, series, (first, left_until)))
        left_until = steps[-1].span[0]
        if progress:
            progress(steps[-1])
    covered = merge_ranges(one for step in steps for one in step.covered)
    return Deletion(span, sum(step.rows for step in steps), tuple(covered))


def _delete_newest(connection: Connection, series: Series, span: TimeRange) -> Deletion:
    def act() -> Deletion:
        with connection.transaction():
            return _delete(connection, series, span)

    with store_errors():
        return try_again(act, busy=f"{series} is being written by too many others at once: try again later.")


def _delete(connection: Connection, series: Series, span: TimeRange) -> Deletion:
    """Delete a step's worth of the newest rows of a span, or the whole span where that holds no more."""
    dropped_before = lock_series(connection, series).dropped_before
    connection.execute(query("allow_decompression"))
    rows, stored = _find_newest(connection, series, span, most=_ROWS_A_STEP)
    step = (stored[0], span[1]) if stored and rows >= _ROWS_A_STEP else span
    if stored:
        statement = _statement(series, query("delete_candles"), query("delete_ticks"))
        connection.execute(statement, _key(series, step), prepare=False)
        _forget_derived(connection, series, stored)
    if dropped_before and step[0] < dropped_before:
        delete_remains(connection, series, (step[0], min(step[1], dropped_before)))
    if _makes_candles(series):
        connection.execute(query("delete_agreement"), _key(series, step))
    connection.execute(query("delete_quality"), _key(series, step))
    parameters = {"series_id": series.series_id, "during": TimestamptzRange(*step), "deleted": rows}
    revision, is_news, covered = one_row(connection.execute(query("forget_range"), parameters))
    if is_news:
        notify_write(connection, series, revision, step)
    return Deletion(step, rows, tuple((one.lower, one.upper) for one in covered))


def _read_known(connection: Connection, series: Series) -> tuple[TimeRange | None, list[TimeRange]]:
    """From when to when anything is stored or known of a series, and what of it is covered."""
    first, last, covered = one_row(connection.execute(query("read_known_range"), {"series_id": series.series_id}))
    known = None if first is None else (first, last)
    return known, [(one.lower, one.upper) for one in covered]


def _clip(series: Series, known: TimeRange | None, start: datetime | None, end: datetime | None) -> TimeRange | None:
    """What of the range asked for is known, in whole candles."""
    start, end = (aware_utc(bound) if bound else None for bound in (start, end))
    if start and end:
        aware_range(start, end)
    if known is None:
        return None
    first, last = known
    if isinstance(series, CandleSeries):
        first, last = series.timeframe.floor(first), series.timeframe.ceil(last)
        start, end = (series.timeframe.ceil(bound) if bound else None for bound in (start, end))
    first, last = max(first, start or first), min(last, end or last)
    return (first, last) if first < last else None


def _find_newest(connection: Connection, series: Series, span: TimeRange, *, most: int) -> tuple[int, TimeRange | None]:
    """How many rows the newest of a span are, and the time they stand for."""
    parameters = {**_key(series, span), "most": most}
    statement = _statement(series, query("read_newest_candles"), query("read_newest_ticks"))
    rows, first, last = one_row(connection.execute(statement, parameters, prepare=False))
    if not rows:
        return 0, None
    close = series.timeframe.close(last) if isinstance(series, CandleSeries) else from_us(to_us(last) + 1)
    return rows, (first, close)


def _forget_derived(connection: Connection, series: Series, span: TimeRange) -> None:
    """Note that what is derived from the rows of that span is out of date, and delete what no refresh reaches."""
    if _makes_candles(series):
        mark_rollups_stale(connection, series, span)
    if series.dataset != "ohlcv":
        mark_features_stale(connection, series, span)
        delete_unreached_imbalances(connection, series, span)


def _makes_candles(series: Series) -> bool:
    """Whether candles are built from the series' rows: from 1m candles and from trades."""
    return series.dataset == "trade" or (isinstance(series, CandleSeries) and series.timeframe == BASE_TIMEFRAME)


def _statement(series: Series, of_candles: sql.SQL, of_ticks: sql.SQL) -> sql.SQL | sql.Composed:
    """The statement for the table that holds the rows of a series."""
    if isinstance(series, CandleSeries):
        return of_candles
    return of_ticks.format(table=sql.Identifier(series.dataset))


def _key(series: Series, span: TimeRange) -> dict[str, Any]:
    key = {"instrument_id": series.instrument.instrument_id, "start": span[0], "end": span[1]}
    return {**key, "timeframe_s": series.timeframe.seconds} if isinstance(series, CandleSeries) else key
