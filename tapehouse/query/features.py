"""What is computed from order books and trades second by second, as DataFrames.

The formulas are in `tapehouse.features`; seconds whose rows are behind what was written since are
left out here.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final, Literal

import numpy as np
from psycopg import sql

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.features.imbalance import REACH_S, WINDOWS_S
from tapehouse.query.attrs import instrument_attrs, ranges_attrs, reach_attrs, window_attrs
from tapehouse.query.books import unknown_books
from tapehouse.query.decode import CopyDecoder, Field
from tapehouse.query.frame import MarketFrame, value_frame
from tapehouse.query.ledger import Ledger, read_ledger
from tapehouse.query.plan import SECOND, SeriesState, closed_window, derived_reach_of
from tapehouse.query.question import Question
from tapehouse.query.resample import lies_in
from tapehouse.query.rows import copy_out, uneven_portions
from tapehouse.ranges import TimeRange, intersect_ranges, merge_ranges
from tapehouse.store.connection import Connection
from tapehouse.store.sql import query

_Table = Literal["order_book_1s", "imbalance"]

_COPIES: Final[dict[_Table, sql.SQL]] = {
    "order_book_1s": query("copy_book_features"),
    "imbalance": query("copy_imbalances"),
}
_BOOK_FEATURES: Final = (
    "bid_price",
    "bid_amount",
    "ask_price",
    "ask_amount",
    "mid",
    "spread",
    "microprice",
    "bid_amount_5",
    "ask_amount_5",
    "bid_amount_20",
    "ask_amount_20",
    "bid_depth_5bp",
    "ask_depth_5bp",
    "imbalance_5bp",
    "bid_depth_10bp",
    "ask_depth_10bp",
    "imbalance_10bp",
    "bid_depth_25bp",
    "ask_depth_25bp",
    "imbalance_25bp",
    "bid_depth_50bp",
    "ask_depth_50bp",
    "imbalance_50bp",
)
_PRICES: Final = ("bid_price", "ask_price", "mid", "spread", "microprice")
_BOOK_IMBALANCES: Final = tuple(f"book_imbalance_{window_s}s" for window_s in WINDOWS_S)
_TRADE_IMBALANCES: Final = tuple(f"trade_imbalance_{window_s}s" for window_s in WINDOWS_S)
IMBALANCES: Final = (*_BOOK_IMBALANCES, *_TRADE_IMBALANCES)
# So long before a second lies what its imbalances are computed from.
IMBALANCE_REACH: Final = timedelta(seconds=REACH_S)


def read_book_features(connection: Connection, question: Question) -> tuple[MarketFrame, Ledger]:
    """The answer of `MarketData.order_book_features`, and the ledger it rests on."""
    ledger = read_ledger(connection, question, "order_book")
    series = ledger.find("order_book")
    if series is None:
        raise unknown_books(question)
    window = _window(ledger)
    stale = _touched(series.stale_features, window)
    time_us, values = _read(connection, ledger, "order_book_1s", len(_BOOK_FEATURES), window, stale)
    for name, numbers in zip(_BOOK_FEATURES, values, strict=True):
        numbers /= _unit(ledger, name)
    frame = _frame(time_us, values, _BOOK_FEATURES, question, ledger)
    reach = derived_reach_of(series, ledger.window, series.book_features_dropped_before)
    frame.attrs.update(reach_attrs(series, reach, stale=stale))
    return frame, ledger


def read_imbalances(connection: Connection, question: Question) -> tuple[MarketFrame, Ledger]:
    """The answer of `MarketData.imbalances`, and the ledger it rests on."""
    ledger = look_up_imbalances(connection, question)
    books, trades = ledger.find("order_book"), ledger.find("trade")
    if books is None and trades is None:
        raise unknown_books(question)
    window = _window(ledger)
    stale = stale_imbalances(books, trades, window)
    time_us, values = _read(connection, ledger, "imbalance", len(IMBALANCES), window, stale)
    blank_unknown(time_us, values, trades)
    frame = _frame(time_us, values, IMBALANCES, question, ledger)
    frame.attrs.update(imbalance_attrs(books, trades, ledger.window, stale))
    return frame, ledger


def look_up_imbalances(connection: Connection, question: Question) -> Ledger:
    """What the ledgers say that `read_imbalances` rests on."""
    return read_ledger(connection, question, "order_book", "trade", lookback=IMBALANCE_REACH)


def stale_imbalances(books: SeriesState | None, trades: SeriesState | None, window: TimeRange) -> list[TimeRange]:
    """The seconds of the window whose imbalances are behind on what was written of order books or trades."""
    notes = [note for series in (books, trades) if series for note in series.stale_features]
    return _touched(((start, SECOND.ceil(end) + IMBALANCE_REACH) for start, end in notes), window)


def imbalance_attrs(
    books: SeriesState | None, trades: SeriesState | None, window: TimeRange, stale: Sequence[TimeRange]
) -> dict[str, Any]:
    """What is known of imbalances: what is stale of them, and what of the window of each series was computed."""
    reaches = {
        name: reach_attrs(series, derived_reach_of(series, window, series.imbalances_dropped_before))
        if series
        else None
        for name, series in (("order_book", books), ("trade", trades))
    }
    return ranges_attrs({"stale": stale}) | reaches


def blank_unknown(time_us: Int64Array, values: Float64Array, trades: SeriesState | None) -> None:
    """Make imbalances of trades NaN, in place, where trades were not fetched for all of their window.

    `time_us` has shape (n,), `values` (columns, n).
    """
    for numbers, window_s in zip(values[len(_BOOK_IMBALANCES) :], WINDOWS_S, strict=True):
        numbers[~lies_in(time_us, _seconds_after(trades.covered if trades else (), window_s))] = np.nan


def _window(ledger: Ledger) -> TimeRange:
    """The seconds that have ended."""
    return closed_window(SECOND, ledger.start, ledger.end, ledger.as_of)


def _touched(ranges: Iterable[TimeRange], window: TimeRange) -> list[TimeRange]:
    """The seconds of the window that the ranges touch."""
    return intersect_ranges(((SECOND.floor(start), SECOND.ceil(end)) for start, end in ranges), [window])


def _seconds_after(covered: Sequence[TimeRange], window_s: int) -> list[TimeRange]:
    """The seconds with which windows end all of which is covered."""
    before = timedelta(seconds=window_s - 1)
    return merge_ranges((SECOND.ceil(start) + before, SECOND.floor(end)) for start, end in covered)


def _read(
    connection: Connection, ledger: Ledger, table: _Table, columns: int, window: TimeRange, stale: Sequence[TimeRange]
) -> tuple[Int64Array, Float64Array]:
    """Where the seconds begin, shape (n,), and the columns' numbers, shape (columns, n), without stale ones."""
    decoder = CopyDecoder([Field.integer("time"), Field.floats("values", columns)])
    # Most of a long window may have no rows.
    for start, end in uneven_portions(connection, table, ledger.instrument_id, window, decoder):
        values = {"instrument_id": ledger.instrument_id, "start": start, "end": end}
        literals = {name: sql.Literal(value) for name, value in values.items()}
        copy_out(connection, _COPIES[table].format(**literals), decoder)
    time_us, values = decoder.times_us("time"), decoder.floats("values")
    fresh = ~lies_in(time_us, stale)
    return (time_us, values) if fresh.all() else (time_us[fresh], values[:, fresh])


def _unit(ledger: Ledger, name: str) -> float:
    """By what the numbers of a column are divided."""
    if name.startswith("imbalance"):
        return 1.0
    return 10.0 ** (ledger.scale.price_decimals if name in _PRICES else ledger.scale.amount_decimals)


def _frame(
    time_us: Int64Array, values: Float64Array, columns: Sequence[str], question: Question, ledger: Ledger
) -> MarketFrame:
    frame = value_frame(time_us, values, columns)
    frame.attrs.update(instrument_attrs(question, ledger, ledger.trade_unit) | window_attrs(ledger))
    return frame
