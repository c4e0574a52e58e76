"""Order books as DataFrames: one with a row a level, or many with a row a snapshot.

What is computed from them second by second is `tapehouse.query.features`.
"""

from typing import Final

import numpy as np
import pandas as pd
from psycopg.rows import dict_row
from psycopg.sql import Composed, Literal

from tapehouse.book import LEVEL_COLUMNS, NO_NONCE
from tapehouse.errors import UnknownSeries
from tapehouse.query.archived import Archive, BookColumns, archived_books, joined
from tapehouse.query.attrs import instrument_attrs, json_time, reach_attrs, window_attrs
from tapehouse.query.decode import CopyDecoder, Field
from tapehouse.query.frame import MarketFrame, time_index, value_frame
from tapehouse.query.ledger import Ledger, read_ledger
from tapehouse.query.plan import reach_of
from tapehouse.query.question import Question
from tapehouse.query.rows import copy_out, uneven_portions
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.sql import query
from tapehouse.store.ticks import Scale

_PRICES: Final = ("bid_price", "ask_price")


def read_book(connection: Connection, question: Question, *, depth: int) -> MarketFrame:
    """The answer of `MarketData.order_book`: the last snapshot of the time asked for."""
    ledger = read_ledger(connection, question, "order_book")
    series = ledger.find("order_book")
    if series is None:
        raise unknown_books(question)
    parameters = {"instrument_id": ledger.instrument_id, "at": ledger.end, "depth": depth}
    with connection.cursor(row_factory=dict_row) as cursor:
        # A plan kept for any times would have to look at all chunks.
        row = cursor.execute(query("read_book_at"), parameters, prepare=False).fetchone() or {}
    units = zip(LEVEL_COLUMNS, level_units(ledger.scale), strict=True)
    frame = MarketFrame({name: pd.Series(row.get(name), dtype="float64") / unit for name, unit in units})
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="level")
    frame.attrs.update(instrument_attrs(question, ledger, ledger.trade_unit))
    frame.attrs.update(
        at=ledger.end.isoformat(),
        revision=series.revision,
        time=json_time(row.get("time")),
        received_at=json_time(row.get("received_at")),
        nonce=row.get("nonce"),
    )
    return frame


def read_books(
    connection: Connection, question: Question, *, depth: int, archive: Archive | None = None
) -> tuple[MarketFrame, Ledger]:
    """The answer of `MarketData.order_books`, and the ledger it rests on."""
    ledger = look_up_books(connection, question, archive=archive)
    series = ledger.find("order_book")
    if series is None:
        raise unknown_books(question)
    reach = reach_of(series, ledger.window)
    archived = archived_books(series.archived, ledger.window, depth) if series.archived else []
    frame = _frame(joined([*archived, _stored(connection, ledger, depth)]), depth)
    frame.attrs.update(instrument_attrs(question, ledger, ledger.trade_unit) | window_attrs(ledger))
    frame.attrs.update(reach_attrs(series, reach, archived=reach.archived))
    return frame, ledger


def look_up_books(connection: Connection, question: Question, *, archive: Archive | None = None) -> Ledger:
    """What the ledgers say that answers from order books rest on."""
    ledger = read_ledger(connection, question, "order_book")
    return archive.complete(connection, ledger) if archive else ledger


def unknown_books(question: Question) -> UnknownSeries:
    """The error for an instrument of which no order books are stored."""
    return UnknownSeries(
        f"{question.exchange} {question.symbol} has no order books stored: run "
        f"`tapehouse ingest order-books --exchange {question.exchange} --symbol {question.symbol}`."
    )


def _stored(connection: Connection, ledger: Ledger, depth: int) -> BookColumns:
    decoder = CopyDecoder(book_fields(depth))
    for span in uneven_portions(connection, "order_book", ledger.instrument_id, ledger.window, decoder):
        copy_out(connection, book_statement(ledger.instrument_id, span, depth), decoder)
    levels = decoder.floats("levels")
    levels /= np.array(level_units(ledger.scale))[:, np.newaxis]
    return BookColumns(decoder.times_us("time"), decoder.times_us("received_at"), decoder.integers("nonce"), levels)


def book_statement(instrument_id: int, span: TimeRange, depth: int) -> Composed:
    """The COPY of the snapshots of the span, with so many levels."""
    return query("copy_books").format(
        instrument_id=Literal(instrument_id), start=Literal(span[0]), end=Literal(span[1]), depth=Literal(depth)
    )


def book_fields(depth: int) -> tuple[Field, ...]:
    """What `book_statement` gives: time, received_at, nonce (-1 for none) and levels in whole ticks and lots."""
    scalars = (Field.integer(name) for name in ("time", "received_at", "nonce"))
    return *scalars, Field.float_arrays("levels", len(LEVEL_COLUMNS), depth)


def _frame(books: BookColumns, depth: int) -> MarketFrame:
    levels = books.levels
    names = [f"{name}_{level}" for name in LEVEL_COLUMNS for level in range(1, depth + 1)]
    frame = value_frame(books.time_us, levels.reshape(len(levels), len(names)).T, names)
    frame.insert(0, "received_at", time_index(books.received_us))
    nonce = pd.Series(books.nonce, index=frame.index, dtype="Int64")
    frame.insert(1, "nonce", nonce.mask(nonce == NO_NONCE))
    return frame


def level_units(scale: Scale) -> list[float]:
    """By what the numbers of each of LEVEL_COLUMNS are divided."""
    price, amount = 10.0**scale.price_decimals, 10.0**scale.amount_decimals
    return [price if name in _PRICES else amount for name in LEVEL_COLUMNS]
