"""The write of a batch of trades: what of it is not stored in `trade`, or stored with other values.

The transaction around it, with coverage, quarantine and revision, is `tapehouse.store.batch`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Reject
from tapehouse.errors import InputError
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.store.arrays import (
    Column,
    FloatColumn,
    IntegerColumn,
    SmallintColumn,
    TextColumn,
    TimeColumn,
)
from tapehouse.store.batch import Lock, WriteResult, WrittenRows, append_rows, write_batch
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.instruments import TradeSeries
from tapehouse.store.ledger import mark_features_stale, mark_rollups_stale
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale, to_ticks
from tapehouse.store.widening import Numbers
from tapehouse.timeframe import from_us, to_us
from tapehouse.trade import TRADE_SPAN_US, TradeBatch

_SIDES: Final = {1: "buy", -1: "sell", 0: None}


def write_trades(
    connection: Connection,
    series: TradeSeries,
    batch: TradeBatch,
    *,
    asked: Sequence[TimeRange],
    covered: Sequence[TimeRange],
    rejected: Sequence[Reject] = (),
    refused: Sequence[Unavailable] = (),
) -> WriteResult:
    """Write a batch of trades as `tapehouse.store.batch.write_batch` does, with the same bounds and errors."""
    return write_batch(
        connection, _TradeTable(), series, batch, asked=asked, covered=covered, rejected=rejected, refused=refused
    )


def refuse_other_ids(connection: Connection, series: TradeSeries, batch: TradeBatch) -> None:
    """Raise InputError if trades are stored between those of the batch, and none of them has an id of these.

    Exchanges have their trades singly and summed up, each with ids of its own: side by side they would count twice.
    The milliseconds of the first and the last say nothing: those of one may be divided between two files.
    """
    if not len(batch):
        return
    span = {"first": from_us(int(batch.time_us[0])), "last": from_us(int(batch.time_us[-1]))}
    with store_errors():
        stored = connection.execute(query("read_trade_ids"), {**_key(series), **span}, prepare=False).fetchall()
    known = set(zip(batch.trade_id.tolist(), batch.id_text.tolist(), strict=True))
    if stored and known.isdisjoint(stored):
        raise InputError(
            f"{series} are stored there already with other ids, as if they were summed up in another way: these would "
            "count twice. Delete those first (tapehouse delete), or import the kind of trades that is stored."
        )


@dataclass(frozen=True, slots=True)
class _TradeTable:
    def span(self, series: TradeSeries, batch: TradeBatch) -> TimeRange:  # noqa: ARG002 -- as for all tables
        return _span(batch.time_us)

    def holes(self, series: TradeSeries, time: datetime) -> list[TimeRange]:  # noqa: ARG002 -- as for all tables
        return [_span(np.array([to_us(time)]))]

    def numbers(self, batch: TradeBatch) -> Numbers:
        rows = np.arange(len(batch))
        return Numbers(batch.price, rows, batch.amount, rows)

    def misfit(self, batch: TradeBatch, row: int) -> Reject:
        raw = {
            "id": str(batch.id_text[row]) or str(batch.trade_id[row]),
            "timestamp": int(batch.time_us[row]) // 1000,
            "price": float(batch.price[row]),
            "amount": float(batch.amount[row]),
            "side": _SIDES[int(batch.side[row])],
        }
        return Reject(from_us(int(batch.time_us[row])), ("beyond_float_precision",), raw)

    def write(self, connection: Connection, series: TradeSeries, batch: TradeBatch, lock: Lock) -> WrittenRows:
        if not len(batch):
            return WrittenRows(0, 0, 0, None)
        ticks = _in_ticks(batch, lock.scale)
        is_new, is_changed = _differences(
            ticks, _stored(connection, series, ticks) if lock.may_be_stored else _no_trades()
        )
        new, changed = ticks.take(is_new), ticks.take(is_changed)
        if lock.may_be_stored and len(new) + len(changed):
            # What lies between compressed rows, or replaces them, has their batches decompressed.
            connection.execute(query("allow_decompression"))
        if len(new):
            _append(connection, series, new)
        if len(changed):
            connection.execute(query("replace_trades"), {**_key(series), **_columns(changed)})
        inserted_known = np.searchsorted(new.time_us, to_us(lock.known_until)) if lock.known_until else 0
        written_us = ticks.time_us[is_new | is_changed]
        span = _span(written_us) if len(written_us) else None
        return WrittenRows(len(new), len(changed), int(inserted_known), span)

    def mark_stale(self, connection: Connection, series: TradeSeries, span: TimeRange) -> None:
        mark_rollups_stale(connection, series, span)
        mark_features_stale(connection, series, span)


def _span(time_us: npt.NDArray[np.int64]) -> TimeRange:
    return from_us(int(time_us[0])), from_us(int(time_us[-1]) + TRADE_SPAN_US)


def _in_ticks(batch: TradeBatch, scale: Scale) -> TradeBatch:
    """The trades in whole ticks and lots."""
    return replace(
        batch,
        price=to_ticks(batch.price, scale.price_decimals),
        amount=to_ticks(batch.amount, scale.amount_decimals),
    )


def _no_trades() -> TradeBatch:
    integers, floats = np.empty(0, dtype=np.int64), np.empty(0)
    return TradeBatch(integers, integers, np.empty(0, dtype=np.str_), floats, floats, np.empty(0, dtype=np.int16))


def _stored(connection: Connection, series: TradeSeries, batch: TradeBatch) -> TradeBatch:
    """What is stored of the series from the batch's first time to its last, in any order."""
    parameters = {
        **_key(series),
        "first": from_us(int(batch.time_us[0])),
        "last": from_us(int(batch.time_us[-1])),
        # Where an id is a text, the number beside it is 0.
        "with_texts": bool((batch.trade_id == 0).any()),
    }
    # A plan kept for any times would have to look at all chunks.
    answer = connection.execute(query("read_stored_trades"), parameters, prepare=False, binary=True)
    time_us, trade_id, price, amount, side, id_text = one_row(answer)
    if time_us is None:
        return _no_trades()
    texts = np.zeros(len(time_us), dtype="<U1") if id_text is None else np.array(id_text, dtype=np.str_)
    return TradeBatch(time_us, trade_id, texts, price, amount, side)


def _differences(batch: TradeBatch, stored: TradeBatch) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which trades of the batch are not stored, and which are stored with other values."""
    if not len(stored):
        return np.ones(len(batch), dtype=np.bool_), np.zeros(len(batch), dtype=np.bool_)
    both: dict[str, Any] = {
        name: np.concatenate([getattr(batch, name), getattr(stored, name)])
        for name in ("time_us", "trade_id", "id_text", "price", "amount", "side")
    }
    # Sorted by the key, a trade of the batch comes right before the stored one of that key, if there is one.
    order = np.lexsort((both["id_text"], both["trade_id"], both["time_us"]))
    here, after = order[:-1], order[1:]
    is_same = np.all([both[name][here] == both[name][after] for name in ("time_us", "trade_id", "id_text")], axis=0)
    is_other = np.any([both[name][here] != both[name][after] for name in ("price", "amount", "side")], axis=0)
    is_new, is_changed = np.ones(len(batch), dtype=np.bool_), np.zeros(len(batch), dtype=np.bool_)
    is_new[here[is_same]] = False
    is_changed[here[is_same & is_other]] = True
    return is_new, is_changed


def _append(connection: Connection, series: TradeSeries, batch: TradeBatch) -> None:
    """Write trades none of which is stored."""
    id_bytes = TextColumn(batch.id_text).longest_bytes
    if id_bytes:
        key = {"series_id": series.series_id, "id_bytes": id_bytes}
        connection.execute(query("widen_series_ids"), key)
    statements = {"insert": query("insert_trades"), "copy_in": query("copy_trades_in")}
    append_rows(connection, _key(series), _columns(batch), **statements)


def _key(series: TradeSeries) -> dict[str, int]:
    return {"instrument_id": series.instrument.instrument_id}


def _columns(batch: TradeBatch) -> dict[str, Column]:
    return {
        "time": TimeColumn(batch.time_us),
        "trade_id": IntegerColumn(batch.trade_id),
        "price": FloatColumn(batch.price),
        "amount": FloatColumn(batch.amount),
        "side": SmallintColumn(batch.side),
        "id_text": TextColumn(batch.id_text),
    }
