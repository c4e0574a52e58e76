"""Trades as a DataFrame, each as the exchange gave it.

Candles built from them are `tapehouse.query.candles`.
"""

from typing import Final

import numpy as np
import pandas as pd
from psycopg.sql import Composed, Literal

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.errors import UnknownSeries
from tapehouse.query.archived import Archive, TradeColumns, archived_trades, joined
from tapehouse.query.attrs import instrument_attrs, reach_attrs, window_attrs
from tapehouse.query.decode import BytesArray, CopyDecoder, Field
from tapehouse.query.frame import MarketFrame, time_index
from tapehouse.query.ledger import Ledger, read_ledger
from tapehouse.query.plan import SeriesState, reach_of
from tapehouse.query.question import Question
from tapehouse.query.rows import copy_out, uneven_portions
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.sql import query
from tapehouse.trade import Int16Array, StrArray

SIDES: Final = pd.CategoricalDtype(["buy", "sell", "unknown"])
# The place in that list of each side as it is stored: 0, 1, and -1 from behind.
SIDE_CODES: Final = np.array([2, 0, 1], dtype=np.int8)
# Of the largest whole number that an id may be.
_NUMBER_BYTES: Final = 19


def read_trades(
    connection: Connection, question: Question, *, archive: Archive | None = None
) -> tuple[MarketFrame, Ledger]:
    """The answer of `MarketData.trades`, and the ledger it rests on."""
    ledger = look_up_trades(connection, question, archive=archive)
    series = ledger.find("trade")
    if series is None:
        raise unknown_trades(question)
    reach = reach_of(series, ledger.window)
    archived = archived_trades(series.archived, ledger.window) if series.archived else []
    trades = joined([*archived, _stored(connection, ledger, series)])
    frame = trade_frame(trades.time_us, trades.ids, trades.price, trades.amount, trades.side)
    frame.attrs.update(instrument_attrs(question, ledger, ledger.trade_unit) | window_attrs(ledger))
    frame.attrs.update(reach_attrs(series, reach, archived=reach.archived))
    return frame, ledger


def look_up_trades(
    connection: Connection, question: Question, _: object = None, *, archive: Archive | None = None
) -> Ledger:
    """What the ledgers say that answers from trades rest on."""
    ledger = read_ledger(connection, question, "trade")
    return archive.complete(connection, ledger) if archive else ledger


def unknown_trades(question: Question) -> UnknownSeries:
    """The error for an instrument of which no trades are stored."""
    return UnknownSeries(
        f"{question.exchange} {question.symbol} has no trades stored: run "
        f"`tapehouse ingest trades --exchange {question.exchange} --symbol {question.symbol} --since 1h`."
    )


def trade_fields(id_bytes: int) -> tuple[Field, ...]:
    """What `trade_statement` gives: time, trade_id, values (price and amount in whole ticks and lots) and side."""
    trade_id = Field.text("trade_id", id_bytes) if id_bytes else Field.integer("trade_id")
    return Field.integer("time"), trade_id, Field.floats("values", 2), Field.smallint("side")


def trade_statement(instrument_id: int, span: TimeRange, id_bytes: int) -> Composed:
    """The COPY of the trades of the span, with ids as texts of that many bytes, or as numbers where it is 0."""
    values = {"instrument_id": Literal(instrument_id), "start": Literal(span[0]), "end": Literal(span[1])}
    if id_bytes:
        return query("copy_text_trades").format(id_bytes=Literal(id_bytes), **values)
    return query("copy_trades").format(**values)


def room_for_ids(series: SeriesState) -> int:
    """The bytes that any id of the series fits in as a text, 0 where all of them are numbers."""
    return max(series.id_bytes, _NUMBER_BYTES) if series.id_bytes else 0


def texts_of_ids(ids: BytesArray) -> StrArray:
    """The ids as they were before the answer filled them up with blanks; validation rejects those that end with one."""
    ids = np.strings.rstrip(ids, b" ")
    is_ascii = ids.view(np.uint8).max(initial=0) < 0x80
    # The first way makes no Python object a row, but knows nothing else.
    return ids.astype(np.str_) if is_ascii else np.strings.decode(ids, "utf-8")


def _stored(connection: Connection, ledger: Ledger, series: SeriesState) -> TradeColumns:
    id_bytes = room_for_ids(series)
    decoder = CopyDecoder(trade_fields(id_bytes))
    for span in uneven_portions(connection, "trade", ledger.instrument_id, ledger.window, decoder):
        copy_out(connection, trade_statement(ledger.instrument_id, span, id_bytes), decoder)
    ids = texts_of_ids(decoder.texts("trade_id")) if id_bytes else decoder.integers("trade_id")
    price, amount = decoder.floats("values")
    price /= 10.0**ledger.scale.price_decimals
    amount /= 10.0**ledger.scale.amount_decimals
    return TradeColumns(decoder.times_us("time"), ids, price, amount, decoder.smallints("side"))


def trade_frame(
    time_us: Int64Array, ids: Int64Array | StrArray, price: Float64Array, amount: Float64Array, side: Int16Array
) -> MarketFrame:
    """Trades at ordinary prices and amounts as a DataFrame; takes over their memory."""
    trade_id = ids if ids.dtype == np.int64 else pd.array(ids, dtype="str")
    columns = {"trade_id": trade_id, "price": price, "amount": amount, "side": _sides(side)}
    return MarketFrame(columns, index=time_index(time_us), copy=False)


def _sides(side: Int16Array) -> pd.Categorical:
    return pd.Categorical.from_codes(SIDE_CODES[side], dtype=SIDES)
