"""Layouts: how rows of each dataset come out of the database and lie in a file, and how both are compared.

Candles and trades lie as an export lays them, so that an import takes them; order books have a list of numbers for
each of their four columns of levels. All values are ordinary prices and amounts, which no widening changes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from psycopg.sql import SQL

from tapehouse.archive.content import Content
from tapehouse.book import LEVEL_COLUMNS, NO_NONCE
from tapehouse.candle import VALUE_COLUMNS, Float64Array
from tapehouse.files.arrow import Array, Rows, Schema, pa
from tapehouse.files.columns import Columns, Piece, labelled, times
from tapehouse.files.label import FileLabel
from tapehouse.files.stored import PieceDecoder, stream_rows
from tapehouse.query.archived import books_of, candles_of, trades_of
from tapehouse.query.books import book_fields, book_statement, level_units
from tapehouse.query.decode import CopyDecoder
from tapehouse.query.rows import copy_out, uneven_portions
from tapehouse.ranges import TimeRange
from tapehouse.store.arrays import PG_EPOCH_US
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.instruments import CandleSeries, Series, TradeSeries
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale, to_ticks

HandOver: TypeAlias = Callable[[Rows], None]

# float8, as array_send tells it.
_FLOAT8_OID: Final = 701
# Order books have some kilobytes a row.
_BOOK_PIECE_BYTES: Final = 32_000_000


class Layout(Protocol):
    """How rows of a series lie in a file."""

    @property
    def schema(self) -> Schema:
        """That of the file, with its label."""
        ...

    def stored(self, connection: Connection) -> Content:
        """The content of the stored rows, as the server works it out."""
        ...

    def stream(self, connection: Connection, hand_over: HandOver) -> None:
        """Hand over the stored rows in their order, a table at a time."""
        ...

    def records(self, table: Rows) -> np.ndarray:
        """The rows of a table as PostgreSQL would send them in binary."""
        ...


def layout_of(connection: Connection, series: Series, window: TimeRange, label: FileLabel, *, id_bytes: int) -> Layout:
    """The layout of the rows of a window; `id_bytes` is what ids of trades take as texts, 0 where all are numbers."""
    scale = Scale(label.listing.price_decimals, label.listing.amount_decimals)
    if isinstance(series, CandleSeries):
        return _Candles(series, window, label, scale)
    if isinstance(series, TradeSeries):
        return _Trades(series, window, label, scale, id_bytes)
    (depth,) = one_row(connection.execute(query("read_depth"), _key(series, window), prepare=False))
    return _Books(series, window, label, scale, max(depth, 1))


@dataclass(frozen=True, slots=True)
class _Candles:
    series: CandleSeries
    window: TimeRange
    label: FileLabel
    scale: Scale

    @property
    def schema(self) -> Schema:
        return Columns(self.label, has_texts=False).schema

    def stored(self, connection: Connection) -> Content:
        key = {**_key(self.series, self.window), "timeframe_s": self.series.timeframe.seconds}
        return _content(connection, query("digest_candles"), key)

    def stream(self, connection: Connection, hand_over: HandOver) -> None:
        _stream_exported(connection, self.series, self.window, self.label, hand_over, id_bytes=0)

    def records(self, table: Rows) -> np.ndarray:
        candles = candles_of(table, self.scale)
        records = np.empty(len(candles), [("time", ">i8"), ("values", ">f8", (len(VALUE_COLUMNS),))])
        records["time"] = candles.time_us - PG_EPOCH_US
        records["values"] = candles.values.T
        return records


@dataclass(frozen=True, slots=True)
class _Trades:
    series: TradeSeries
    window: TimeRange
    label: FileLabel
    scale: Scale
    id_bytes: int

    @property
    def schema(self) -> Schema:
        return Columns(self.label, has_texts=bool(self.id_bytes)).schema

    def stored(self, connection: Connection) -> Content:
        key = {**_key(self.series, self.window), "id_bytes": self.id_bytes}
        return _content(connection, query("digest_trades"), key)

    def stream(self, connection: Connection, hand_over: HandOver) -> None:
        _stream_exported(connection, self.series, self.window, self.label, hand_over, id_bytes=self.id_bytes)

    def records(self, table: Rows) -> np.ndarray:
        trades = trades_of(table)
        id_type = f"S{self.id_bytes}" if self.id_bytes else ">i8"
        layout = [("time", ">i8"), ("id", id_type), ("price", ">f8"), ("amount", ">f8"), ("side", ">i2")]
        records = np.empty(len(trades.time_us), layout)
        records["time"] = trades.time_us - PG_EPOCH_US
        records["id"] = (
            np.strings.ljust(np.strings.encode(trades.ids.astype(np.str_), "utf-8"), self.id_bytes, b" ")
            if self.id_bytes
            else trades.ids
        )
        records["price"] = to_ticks(trades.price, self.scale.price_decimals)
        records["amount"] = to_ticks(trades.amount, self.scale.amount_decimals)
        records["side"] = trades.side
        return records


@dataclass(frozen=True, slots=True)
class _Books:
    series: Series
    window: TimeRange
    label: FileLabel
    scale: Scale
    depth: int

    @property
    def schema(self) -> Schema:
        time = pa.timestamp("us", tz="UTC")
        levels = [(name, pa.list_(pa.float64())) for name in LEVEL_COLUMNS]
        return labelled([("time", time), ("received_at", time), ("nonce", pa.int64()), *levels], self.label)

    def stored(self, connection: Connection) -> Content:
        return _content(connection, query("digest_books"), {**_key(self.series, self.window), "depth": self.depth})

    def stream(self, connection: Connection, hand_over: HandOver) -> None:
        instrument_id = self.series.instrument.instrument_id
        piece_rows = _BOOK_PIECE_BYTES // (len(LEVEL_COLUMNS) * 8 * self.depth) + 1
        decoder = PieceDecoder(
            book_fields(self.depth), lambda piece: hand_over(self._table(piece)), piece_rows=piece_rows
        )
        for portion in uneven_portions(connection, "order_book", instrument_id, self.window, decoder):
            copy_out(connection, book_statement(instrument_id, portion, self.depth), decoder)
        decoder.hand_over_rest()

    def records(self, table: Rows) -> np.ndarray:
        books = books_of(table, self.depth)
        cell = np.dtype([("bytes", ">i4"), ("value", ">f8")])
        array = np.dtype([("header", ">i4", (5,)), ("cells", cell, (self.depth,))])
        names = [("time", ">i8"), ("received_at", ">i8"), ("nonce", ">i8"), ("levels", array, (len(LEVEL_COLUMNS),))]
        records = np.empty(len(books.time_us), names)
        records["time"] = books.time_us - PG_EPOCH_US
        records["received_at"] = books.received_us - PG_EPOCH_US
        records["nonce"] = books.nonce
        # Dimensions, no NULLs, the type of the elements, how many, and the number of the first.
        records["levels"]["header"] = (1, 0, _FLOAT8_OID, self.depth, 1)
        records["levels"]["cells"]["bytes"] = 8
        records["levels"]["cells"]["value"] = self._ticks(books.levels)
        return records

    def _ticks(self, levels: Float64Array) -> Float64Array:
        price, amount = self.scale.price_decimals, self.scale.amount_decimals
        decimals = [price if name.endswith("price") else amount for name in LEVEL_COLUMNS]
        ticks = np.full(levels.shape, np.nan)
        for number, one in enumerate(decimals):
            column = levels[:, number]
            is_there = ~np.isnan(column)
            ticks[:, number][is_there] = to_ticks(column[is_there], one)
        return ticks

    def _table(self, decoder: CopyDecoder) -> Rows:
        levels = decoder.floats("levels")
        levels /= np.array(level_units(self.scale))[:, np.newaxis]
        nonce = decoder.integers("nonce")
        arrays = [
            times(decoder.times_us("time")),
            times(decoder.times_us("received_at")),
            pa.array(nonce, mask=nonce == NO_NONCE),
            *(_lists(levels[:, number]) for number in range(len(LEVEL_COLUMNS))),
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def _stream_exported(
    connection: Connection,
    series: CandleSeries | TradeSeries,
    window: TimeRange,
    label: FileLabel,
    hand_over: HandOver,
    *,
    id_bytes: int,
) -> None:
    columns = Columns(label, has_texts=bool(id_bytes))

    def take(decoder: CopyDecoder) -> None:
        hand_over(columns.table(Piece.of(decoder, label, has_texts=bool(id_bytes))))

    stream_rows(connection, series, window, take, id_bytes=id_bytes)


def _lists(levels: Float64Array) -> Array:
    """An array of shape (n, depth) as lists that end where NaN begins."""
    is_there = ~np.isnan(levels)
    offsets = np.concatenate([[0], np.cumsum(is_there.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(levels[is_there]))


def _key(series: Series, window: TimeRange) -> dict[str, Any]:
    return {"instrument_id": series.instrument.instrument_id, "start": window[0], "end": window[1]}


def _content(connection: Connection, statement: SQL, key: dict[str, Any]) -> Content:
    # A plan kept for any times would have to look at all chunks.
    return Content(*one_row(connection.execute(statement, key, prepare=False)))
