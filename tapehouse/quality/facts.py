"""What the ledgers and the rows of a series say of a day, as the judges of all datasets need it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from psycopg.types.range import TimestamptzRange

from tapehouse.quality.day import Finding
from tapehouse.quality.rules import Bars
from tapehouse.query.candles import candle_statement
from tapehouse.query.decode import CopyDecoder, Field
from tapehouse.query.ledger import utc_ranges
from tapehouse.query.plan import Read
from tapehouse.query.rows import copy_out, even_portions
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.instruments import CandleSeries, Series
from tapehouse.store.sql import query
from tapehouse.timeframe import to_us

DAY: Final = timedelta(days=1)
# So many bars before and after a day tell how the market moves otherwise.
_AROUND: Final = 240
_BAR_VALUES: Final = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a day was to be fetched of a series, and what of that is covered."""

    window: TimeRange
    covered: tuple[TimeRange, ...]


def read_asked(connection: Connection, series: Series, day: TimeRange) -> Asked | None:
    """What of that time was wanted or asked for, up to now and as far as retention has not dropped it; None if nothing.

    Of candles in whole bars.
    """
    parameters = {"series_id": series.series_id, "during": TimestamptzRange(*day)}
    row = one_row(connection.execute(query("read_asked"), parameters))
    asked_from, asked_until, dropped_before, covered, now = row
    if asked_from is None or asked_until is None:
        return None
    first, stop = max(day[0], asked_from, dropped_before or day[0]), min(day[1], asked_until, now)
    if isinstance(series, CandleSeries):
        first, stop = series.timeframe.ceil(first), series.timeframe.floor(stop)
    return Asked((first, stop), utc_ranges(covered)) if first < stop else None


def read_bars(connection: Connection, instrument_id: int, read: Read) -> tuple[Bars, int]:
    """The bars of the read and those around it, in ticks and lots, and for trades how many rows they are built from."""
    first, stop = read.span
    span = read.timeframe.shift(first, -_AROUND), read.timeframe.shift(stop, _AROUND)
    built = read.table == "trade"
    decoder = CopyDecoder([Field.integer("time"), Field.floats("values", _BAR_VALUES + 3 * built)])
    for portion in even_portions(connection, span, decoder, step=read.timeframe.length):
        copy_out(connection, candle_statement(instrument_id, read, portion), decoder)
    values = decoder.floats("values")
    bars = Bars(decoder.times_us("time"), *values[:_BAR_VALUES])
    if not built:
        return bars, 0
    return bars, int(values[_BAR_VALUES, inside(bars, read.span)].sum())


def read_rejected(connection: Connection, series: Series, day: TimeRange) -> list[Finding]:
    """The rejected rows of a day, those that failed the same checks together."""
    parameters = {"series_id": series.series_id, "start": day[0], "end": day[1]}
    rows: Sequence[tuple[str, int, datetime, datetime]] = connection.execute(
        query("count_rejected"), parameters
    ).fetchall()
    return [Finding("rejected", first, last, count, reasons) for reasons, count, first, last in rows]


def inside(bars: Bars, span: TimeRange) -> slice:
    """Which of the bars open in that time."""
    return slice(*np.searchsorted(bars.time_us, (to_us(span[0]), to_us(span[1]))).tolist())
