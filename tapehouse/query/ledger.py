"""What the database knows of instruments and series, as records; rows of candles are `tapehouse.query.rows`.

All functions run in the transaction of the connection they are given.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg.rows import class_row, dict_row
from psycopg.types.multirange import TimestamptzMultirange

from tapehouse.instrument import AmountUnit, Instrument
from tapehouse.query.plan import MINUTE, SeriesState
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import unknown_symbol
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale
from tapehouse.timeframe import Timeframe, timeframe_of_seconds


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one snapshot of the database knows of an instrument's candles in a window.

    `as_of` is the server's time. `native` is the series of the timeframe asked for, `minutes`
    that of 1m, and `stale` is where the rollups over it are behind.
    """

    instrument_id: int
    scale: Scale
    amount_unit: AmountUnit
    from_sandbox: bool
    as_of: datetime
    native: SeriesState | None
    minutes: SeriesState | None
    stale: tuple[TimeRange, ...]


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """What is stored of one series; `covered` are the ranges fetched, oldest first."""

    exchange: str
    symbol: str
    dataset: str
    timeframe: Timeframe
    covered: tuple[TimeRange, ...]
    rows: int
    rejected: int
    revision: int
    amount_unit: AmountUnit
    dropped_before: datetime | None
    updated_at: datetime | None


def read_ledger(
    connection: Connection, exchange: str, symbol: str, timeframe: Timeframe, *, start: datetime, end: datetime | None
) -> Ledger:
    """What is known of [start, end), up to now where no end is given; raises UnknownSymbol."""
    parameters = {"exchange": exchange, "symbol": symbol, "timeframe_s": timeframe.seconds, "start": start, "end": end}
    with connection.cursor(row_factory=dict_row) as cursor:
        # In a pipeline BEGIN and the statement take one round trip; fetching inside would make it two.
        with connection.pipeline():
            cursor.execute(query("read_candle_series"), parameters)
        rows = cursor.fetchall()
    if not rows:
        raise unknown_symbol(connection, exchange, symbol)
    series = {row["timeframe_s"]: row for row in rows}
    minutes = series.get(MINUTE.seconds)
    first = rows[0]
    return Ledger(
        instrument_id=first["instrument_id"],
        scale=Scale(first["price_decimals"], first["amount_decimals"]),
        amount_unit=first["amount_unit"],
        from_sandbox=first["from_sandbox"],
        as_of=first["as_of"].astimezone(UTC),
        native=_series_state(series.get(timeframe.seconds)),
        minutes=_series_state(minutes),
        stale=_ranges(minutes["stale"]) if minutes else (),
    )


def read_stored_series(connection: Connection, exchange: str | None, symbol: str | None) -> list[StoredSeries]:
    """Every candle series, or those of an exchange or a symbol."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(query("read_stored_series"), {"exchange": exchange, "symbol": symbol}).fetchall()
    return [_stored_series(row) for row in rows]


def read_instruments(connection: Connection, exchange: str | None) -> list[Instrument]:
    """Every instrument, or those of an exchange."""
    with connection.cursor(row_factory=class_row(Instrument)) as cursor:
        return cursor.execute(query("read_instruments"), {"exchange": exchange}).fetchall()


def _series_state(row: dict[str, Any] | None) -> SeriesState | None:
    if row is None:
        return None
    dropped_before = row["dropped_before"]
    return SeriesState(
        revision=row["revision"],
        covered=_ranges(row["covered"]),
        dropped_before=dropped_before.astimezone(UTC) if dropped_before else None,
    )


def _stored_series(row: dict[str, Any]) -> StoredSeries:
    timeframe = timeframe_of_seconds(row.pop("timeframe_s"))
    covered = _ranges(row.pop("covered"))
    return StoredSeries(timeframe=timeframe, covered=covered, **row)


def _ranges(multirange: TimestamptzMultirange) -> tuple[TimeRange, ...]:
    """The ranges in UTC; what is covered is bounded."""
    return tuple(
        (one.lower.astimezone(UTC), one.upper.astimezone(UTC))
        for one in multirange
        if one.lower is not None and one.upper is not None
    )
