"""The write of a batch of candles: what of it is not stored in `ohlcv`, or stored with other values.

The transaction around it, with coverage, quarantine and revision, is `tapehouse.store.batch`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from tapehouse.candle import PRICE_COLUMNS, VALUE_COLUMNS, CandleBatch, Reject
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.store.arrays import Column, FloatColumn, TimeColumn
from tapehouse.store.batch import Lock, WriteResult, WrittenRows, append_rows, write_batch
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.instruments import CandleSeries
from tapehouse.store.ledger import mark_rollups_stale
from tapehouse.store.rollups import BASE_TIMEFRAME
from tapehouse.store.sql import query
from tapehouse.store.substitutes import cut_substitutes, record_substitutes
from tapehouse.store.ticks import Scale, to_ticks
from tapehouse.store.widening import Numbers
from tapehouse.timeframe import from_us, to_us

_NO_ROWS: Final = CandleBatch(np.empty(0, dtype=np.int64), *(np.empty(0) for _ in VALUE_COLUMNS))


def write_candles(
    connection: Connection,
    series: CandleSeries,
    batch: CandleBatch,
    *,
    asked: Sequence[TimeRange],
    covered: Sequence[TimeRange],
    rejected: Sequence[Reject] = (),
    refused: Sequence[Unavailable] = (),
    substituted_from: str | None = None,
) -> WriteResult:
    """Write a batch of candles as `tapehouse.store.batch.write_batch` does, with the same bounds and errors.

    Candles that are `substituted_from` elsewhere than the exchange never replace stored ones, and are noted as
    such; the exchange's own replace them, and the note.
    """
    table = _CandleTable(substituted_from)
    return write_batch(
        connection, table, series, batch, asked=asked, covered=covered, rejected=rejected, refused=refused
    )


@dataclass(frozen=True, slots=True)
class _CandleTable:
    substituted_from: str | None

    def span(self, series: CandleSeries, batch: CandleBatch) -> TimeRange:
        """From the first candle's open to the last one's close."""
        return from_us(int(batch.time_us[0])), series.timeframe.close(from_us(int(batch.time_us[-1])))

    def holes(self, series: CandleSeries, time: datetime) -> list[TimeRange]:
        return [(time, series.timeframe.close(time))]

    def numbers(self, batch: CandleBatch) -> Numbers:
        rows = np.arange(len(batch))
        prices = np.concatenate([getattr(batch, name) for name in PRICE_COLUMNS])
        return Numbers(prices, np.tile(rows, len(PRICE_COLUMNS)), batch.volume, rows)

    def misfit(self, batch: CandleBatch, row: int) -> Reject:
        raw = [int(batch.time_us[row]) // 1000, *(float(getattr(batch, name)[row]) for name in VALUE_COLUMNS)]
        return Reject(from_us(int(batch.time_us[row])), ("beyond_float_precision",), raw)

    def write(self, connection: Connection, series: CandleSeries, batch: CandleBatch, lock: Lock) -> WrittenRows:
        if not len(batch):
            return WrittenRows(0, 0, 0, None)
        ticks = _in_ticks(batch, lock.scale)
        # Rows and coverage commit together: where nothing is covered, nothing was ever written.
        stored = _stored(connection, series, ticks) if lock.may_be_stored else _NO_ROWS
        new, changed = _differences(ticks, stored)
        if self.substituted_from is not None:
            changed = _NO_ROWS
            record_substitutes(connection, series, _spans(series, new), self.substituted_from)
        elif len(stored):
            cut_substitutes(connection, series, _spans(series, ticks))
        if len(stored) and len(new) + len(changed):
            # What lies between compressed rows, or replaces them, has their batches decompressed.
            connection.execute(query("allow_decompression"))
        if len(new):
            _append(connection, series, new)
        if len(changed):
            connection.execute(query("replace_candles"), {**_key(series), **_columns(changed)})
        inserted_known = np.searchsorted(new.time_us, to_us(lock.known_until)) if lock.known_until else 0
        return WrittenRows(len(new), len(changed), int(inserted_known), _written_span(series, new, changed))

    def mark_stale(self, connection: Connection, series: CandleSeries, span: TimeRange) -> None:
        if series.timeframe == BASE_TIMEFRAME:
            mark_rollups_stale(connection, series, span)


def _in_ticks(batch: CandleBatch, scale: Scale) -> CandleBatch:
    """The candles in whole ticks and lots."""
    return CandleBatch(batch.time_us, *(to_ticks(getattr(batch, name), scale.decimals(name)) for name in VALUE_COLUMNS))


def _stored(connection: Connection, series: CandleSeries, batch: CandleBatch) -> CandleBatch:
    """What is stored of the series from the batch's first open time to its last."""
    span = {"first": from_us(int(batch.time_us[0])), "last": from_us(int(batch.time_us[-1]))}
    # A plan kept for any times would have to look at all chunks.
    answer = connection.execute(query("read_stored_candles"), {**_key(series), **span}, prepare=False, binary=True)
    columns = one_row(answer)
    if columns[0] is None:
        return _NO_ROWS
    by_time = np.argsort(columns[0], kind="stable")
    return CandleBatch(*(column[by_time] for column in columns))


def _differences(batch: CandleBatch, stored: CandleBatch) -> tuple[CandleBatch, CandleBatch]:
    """The candles of the batch that are not stored, and those that are stored with other values."""
    is_stored = np.isin(batch.time_us, stored.time_us, assume_unique=True)
    known, place = batch.take(is_stored), np.searchsorted(stored.time_us, batch.time_us[is_stored])
    differs = [getattr(known, name) != getattr(stored, name)[place] for name in VALUE_COLUMNS]
    return batch.take(~is_stored), known.take(np.any(differs, axis=0))


def _append(connection: Connection, series: CandleSeries, batch: CandleBatch) -> None:
    """Write candles none of which is stored."""
    statements = {"insert": query("insert_candles"), "copy_in": query("copy_candles_in")}
    append_rows(connection, _key(series), _columns(batch), **statements)


def _key(series: CandleSeries) -> dict[str, int]:
    return {"instrument_id": series.instrument.instrument_id, "timeframe_s": series.timeframe.seconds}


def _columns(batch: CandleBatch) -> dict[str, Column]:
    values = {name: FloatColumn(getattr(batch, name)) for name in VALUE_COLUMNS}
    return {"time": TimeColumn(batch.time_us), **values}


def _spans(series: CandleSeries, batch: CandleBatch) -> list[TimeRange]:
    """The time that the candles stand for, in as few ranges as that is."""
    if not len(batch):
        return []
    closes_us = series.timeframe.close_us(batch.time_us)
    breaks = np.flatnonzero(closes_us[:-1] != batch.time_us[1:])
    starts_us = batch.time_us[np.append(0, breaks + 1)].tolist()
    ends_us = closes_us[np.append(breaks, len(batch) - 1)].tolist()
    return [(from_us(start_us), from_us(end_us)) for start_us, end_us in zip(starts_us, ends_us, strict=True)]


def _written_span(series: CandleSeries, *batches: CandleBatch) -> TimeRange | None:
    """From the first candle's open to the last one's close."""
    times_us = np.concatenate([batch.time_us for batch in batches])
    if not len(times_us):
        return None
    return from_us(int(times_us.min())), series.timeframe.close(from_us(int(times_us.max())))
