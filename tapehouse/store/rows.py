"""The rows of a batch of candles in `ohlcv`: what is stored of them, and writing what differs from it.

They are in whole ticks and lots here. The transaction and the lock of the series are the
caller's (`tapehouse.store.candles`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from tapehouse.candle import VALUE_COLUMNS, CandleBatch
from tapehouse.ranges import TimeRange
from tapehouse.store.arrays import FloatColumn, TimeColumn, copy_tuples
from tapehouse.store.connection import Connection, is_embedded, one_row
from tapehouse.store.instruments import Series
from tapehouse.store.sql import query
from tapehouse.timeframe import from_us, to_us

NO_ROWS: Final = CandleBatch(np.empty(0, dtype=np.int64), *(np.empty(0) for _ in VALUE_COLUMNS))


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """What was written: `inserted_known` of the inserted lie where readers could already have looked.

    `span` reaches from the first one's open to the last one's close.
    """

    inserted: int
    changed: int
    inserted_known: int
    span: TimeRange | None


def read_rows(connection: Connection, series: Series, batch: CandleBatch) -> CandleBatch:
    """What is stored of the series from the batch's first open time to its last."""
    if not len(batch):
        return NO_ROWS
    span = {"first": from_us(int(batch.time_us[0])), "last": from_us(int(batch.time_us[-1]))}
    # A plan kept for any times would have to look at all chunks.
    answer = connection.execute(query("read_stored_candles"), {**_key(series), **span}, prepare=False, binary=True)
    columns = one_row(answer)
    if columns[0] is None:
        return NO_ROWS
    by_time = np.argsort(columns[0], kind="stable")
    return CandleBatch(*(column[by_time] for column in columns))


def write_rows(
    connection: Connection,
    series: Series,
    batch: CandleBatch,
    *,
    stored: CandleBatch,
    known_until: datetime | None,
) -> WrittenRows:
    """Write what of the batch is not stored, or is stored with other values; the rest is left alone."""
    new, changed = _differences(batch, stored)
    if len(stored) and len(new) + len(changed):
        # What lies between compressed rows, or replaces them, has their batches decompressed.
        connection.execute(query("allow_decompression"))
    if len(new):
        _append(connection, series, new)
    if len(changed):
        _replace(connection, series, changed)
    inserted_known = np.searchsorted(new.time_us, to_us(known_until)) if known_until else 0
    return WrittenRows(len(new), len(changed), int(inserted_known), _span(series, new, changed))


def _differences(batch: CandleBatch, stored: CandleBatch) -> tuple[CandleBatch, CandleBatch]:
    """The candles of the batch that are not stored, and those that are stored with other values."""
    is_stored = np.isin(batch.time_us, stored.time_us, assume_unique=True)
    known, place = batch.take(is_stored), np.searchsorted(stored.time_us, batch.time_us[is_stored])
    differs = [getattr(known, name) != getattr(stored, name)[place] for name in VALUE_COLUMNS]
    return batch.take(~is_stored), known.take(np.any(differs, axis=0))


def _append(connection: Connection, series: Series, batch: CandleBatch) -> None:
    """Write candles none of which is stored."""
    if is_embedded(connection):
        connection.execute(query("insert_candles"), {**_key(series), **_columns(batch)})
        return
    with connection.cursor() as cursor, cursor.copy(query("copy_candles_in")) as copy:
        copy.write(copy_tuples(tuple(_key(series).values()), tuple(_columns(batch).values())))


def _replace(connection: Connection, series: Series, batch: CandleBatch) -> None:
    """Write candles all of which are stored with other values."""
    connection.execute(query("replace_candles"), {**_key(series), **_columns(batch)})


def _key(series: Series) -> dict[str, int]:
    return {"instrument_id": series.instrument.instrument_id, "timeframe_s": series.timeframe.seconds}


def _columns(batch: CandleBatch) -> dict[str, TimeColumn | FloatColumn]:
    values = {name: FloatColumn(getattr(batch, name)) for name in VALUE_COLUMNS}
    return {"time": TimeColumn(batch.time_us), **values}


def _span(series: Series, *batches: CandleBatch) -> TimeRange | None:
    """From the first candle's open to the last one's close."""
    times_us = np.concatenate([batch.time_us for batch in batches])
    if not len(times_us):
        return None
    return from_us(int(times_us.min())), series.timeframe.close(from_us(int(times_us.max())))
