"""What features are computed from, as stored: the last snapshot of each second, and what a second traded.

Everything is in whole ticks and lots. Snapshots for users are read by `tapehouse.query`.
"""

from collections.abc import Sequence

import numpy as np

from tapehouse.book import BookBatch
from tapehouse.candle import Float64Array, Int64Array
from tapehouse.features.imbalance import SecondsOfBooks, SecondsOfTrades
from tapehouse.ranges import TimeRange
from tapehouse.store.arrays import (
    BytesLoader,
    FloatColumn,
    IntegerColumn,
    TimeColumn,
    received_float_arrays,
    received_integers,
    received_times,
)
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.sql import query


def read_last_books(connection: Connection, instrument_id: int, span: TimeRange) -> BookBatch:
    """The last snapshot of each second that has one, of a span of whole seconds."""
    with connection.cursor() as cursor:
        # Values stay as they come: an array a level list, decoded one by one, would take most of the time.
        for oid in (TimeColumn.oid, IntegerColumn.oid, FloatColumn.array_oid):
            cursor.adapters.register_loader(oid, BytesLoader)
        cursor.execute(query("read_last_books"), _bounds(instrument_id, span), prepare=False, binary=True)
        columns: Sequence[Sequence[bytes]] = list(zip(*cursor.fetchall(), strict=True)) or [()] * 7
    time, received_at, nonce, *levels = columns
    (bid_price, bid_count), (bid_amount, _), (ask_price, ask_count), (ask_amount, _) = map(
        received_float_arrays, levels
    )
    return BookBatch(
        time_us=received_times(time),
        received_us=received_times(received_at),
        nonce=received_integers(nonce),
        bid_count=bid_count,
        ask_count=ask_count,
        bid_price=bid_price,
        bid_amount=bid_amount,
        ask_price=ask_price,
        ask_amount=ask_amount,
    )


def read_seconds_of_books(connection: Connection, instrument_id: int, span: TimeRange) -> SecondsOfBooks:
    """The seconds for which features of books are stored, with what imbalances need of them."""
    answer = connection.execute(query("read_book_seconds"), _bounds(instrument_id, span), prepare=False, binary=True)
    return SecondsOfBooks(*_arrays(one_row(answer)))


def read_seconds_of_trades(connection: Connection, instrument_id: int, span: TimeRange) -> SecondsOfTrades:
    """The seconds in which trades are stored, with what takers bought and sold."""
    answer = connection.execute(query("read_trade_seconds"), _bounds(instrument_id, span), prepare=False, binary=True)
    return SecondsOfTrades(*_arrays(one_row(answer)))


def _bounds(instrument_id: int, span: TimeRange) -> dict[str, object]:
    return {"instrument_id": instrument_id, "start": span[0], "end": span[1]}


def _arrays(
    row: tuple[Int64Array | None, Float64Array | None, Float64Array | None],
) -> tuple[Int64Array, Float64Array, Float64Array]:
    time_us, first, second = row
    if time_us is None or first is None or second is None:
        return np.empty(0, dtype=np.int64), np.empty(0), np.empty(0)
    return time_us, first, second
