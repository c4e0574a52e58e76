"""The write of a batch of order-book snapshots into `order_book`.

The transaction around it, with coverage, quarantine and revision, is `tapehouse.store.batch`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import numpy as np

from tapehouse.book import BookBatch
from tapehouse.candle import Int64Array, Reject
from tapehouse.ranges import TimeRange
from tapehouse.store.arrays import FloatColumn, IntegerColumn, TimeColumn
from tapehouse.store.batch import Lock, WriteResult, WrittenRows, write_batch
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.instruments import BookSeries
from tapehouse.store.ledger import mark_features_stale
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale, to_ticks
from tapehouse.store.widening import Numbers
from tapehouse.timeframe import from_us, to_us

# A snapshot is of one moment, and PostgreSQL counts microseconds.
_MOMENT: Final = timedelta(microseconds=1)


def write_books(
    connection: Connection,
    series: BookSeries,
    batch: BookBatch,
    *,
    asked: Sequence[TimeRange],
    covered: Sequence[TimeRange],
    rejected: Sequence[Reject] = (),
    sampled: Mapping[datetime, Sequence[TimeRange]] = MappingProxyType({}),
) -> WriteResult:
    """Write a batch of snapshots as `tapehouse.store.batch.write_batch` does, with the same bounds and errors.

    What is covered are the intervals of a sampling for which there is a snapshot, which by the exchange's
    clock may lie before them: `sampled` tells them by the snapshots' times.
    """
    table = _BookTable(sampled)
    return write_batch(connection, table, series, batch, asked=asked, covered=covered, rejected=rejected)


@dataclass(frozen=True, slots=True)
class _BookTable:
    sampled: Mapping[datetime, Sequence[TimeRange]]

    def span(self, series: BookSeries, batch: BookBatch) -> TimeRange:  # noqa: ARG002 -- as for all tables
        return from_us(int(batch.time_us[0])), from_us(int(batch.time_us[-1])) + _MOMENT

    def holes(self, series: BookSeries, time: datetime) -> Sequence[TimeRange]:  # noqa: ARG002 -- as for all tables
        return self.sampled.get(time, ())

    def numbers(self, batch: BookBatch) -> Numbers:
        rows = np.arange(len(batch))
        owners = np.concatenate([np.repeat(rows, batch.bid_count), np.repeat(rows, batch.ask_count)])
        prices = np.concatenate([batch.bid_price, batch.ask_price])
        amounts = np.concatenate([batch.bid_amount, batch.ask_amount])
        return Numbers(prices, owners, amounts, owners)

    def misfit(self, batch: BookBatch, row: int) -> Reject:
        (bids, asks), time = _bounds(batch), from_us(int(batch.time_us[row]))
        raw = {
            "bids": np.column_stack([batch.bid_price, batch.bid_amount])[slice(*bids[row])].tolist(),
            "asks": np.column_stack([batch.ask_price, batch.ask_amount])[slice(*asks[row])].tolist(),
            "timestamp": int(batch.time_us[row]) // 1000,
        }
        return Reject(time, ("beyond_float_precision",), raw)

    def write(self, connection: Connection, series: BookSeries, batch: BookBatch, lock: Lock) -> WrittenRows:
        if not len(batch):
            return WrittenRows(0, 0, 0, None)
        ticks = _in_ticks(batch, lock.scale)
        parameters = {"instrument_id": series.instrument.instrument_id, **_columns(ticks)}
        (known,) = one_row(connection.execute(query("count_stored_books"), parameters))
        if known:
            # What replaces compressed rows has their batches decompressed.
            connection.execute(query("allow_decompression"))
        written = connection.execute(query("upsert_books"), parameters).rowcount
        inserted = len(batch) - known
        inserted_known = np.searchsorted(batch.time_us, to_us(lock.known_until)) if lock.known_until else 0
        return WrittenRows(
            inserted=inserted,
            changed=written - inserted,
            inserted_known=min(inserted, int(inserted_known)),
            span=self.span(series, batch) if written else None,
        )

    def mark_stale(self, connection: Connection, series: BookSeries, span: TimeRange) -> None:
        mark_features_stale(connection, series, span)


def _in_ticks(batch: BookBatch, scale: Scale) -> BookBatch:
    """The snapshots in whole ticks and lots."""
    return replace(
        batch,
        bid_price=to_ticks(batch.bid_price, scale.price_decimals),
        bid_amount=to_ticks(batch.bid_amount, scale.amount_decimals),
        ask_price=to_ticks(batch.ask_price, scale.price_decimals),
        ask_amount=to_ticks(batch.ask_amount, scale.amount_decimals),
    )


def _bounds(batch: BookBatch) -> tuple[Int64Array, Int64Array]:
    """Where the bids and where the asks of each snapshot begin and end, shape (n, 2) each."""
    ends = [np.cumsum(counts) for counts in (batch.bid_count, batch.ask_count)]
    bids, asks = (
        np.column_stack([end - count, end]) for end, count in zip(ends, (batch.bid_count, batch.ask_count), strict=True)
    )
    return bids, asks


def _columns(batch: BookBatch) -> dict[str, TimeColumn | IntegerColumn | FloatColumn]:
    bids, asks = _bounds(batch)
    return {
        "time": TimeColumn(batch.time_us),
        "received_at": TimeColumn(batch.received_us),
        "nonce": IntegerColumn(batch.nonce),
        # PostgreSQL counts from 1 and means the last one, too.
        "first_bid": IntegerColumn(bids[:, 0] + 1),
        "last_bid": IntegerColumn(bids[:, 1]),
        "first_ask": IntegerColumn(asks[:, 0] + 1),
        "last_ask": IntegerColumn(asks[:, 1]),
        "bid_price": FloatColumn(batch.bid_price),
        "bid_amount": FloatColumn(batch.bid_amount),
        "ask_price": FloatColumn(batch.ask_price),
        "ask_amount": FloatColumn(batch.ask_amount),
    }
