"""What is left of rows that retention has dropped: their rollups and features, which no refresh reaches any more.

A deletion takes them away by itself; what is derived from rows that are stored follows with the next refresh, but
for imbalances whose windows reach back to where retention has dropped trades: no refresh computes these again.
"""

from datetime import datetime, timedelta
from typing import Final

from psycopg import sql

from tapehouse.features.imbalance import REACH_S
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.instruments import CandleSeries, Series
from tapehouse.store.ledger import mark_features_stale
from tapehouse.store.rollups import ROLLUPS, TRADE_CANDLES
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, timeframe

_SECOND: Final = timeframe("1s")
_REACH: Final = timedelta(seconds=REACH_S)


def delete_remains(connection: Connection, series: Series, span: TimeRange) -> None:
    """Delete what was derived from a series' rows in a span that retention has dropped, in the caller's transaction.

    Of 1m candles, trades or order books. A bar or an imbalance that the span only touches goes too: what of it
    is left can't be computed, but for imbalances of order books, which the next refresh does from `order_book_1s`.
    """
    if isinstance(series, CandleSeries):
        _delete_rollups(connection, series, span, [(f"candle_{one}", one) for one in ROLLUPS])
        return
    if series.dataset == "trade":
        _delete_rollups(connection, series, span, [(f"trade_candle_{one}", one) for one in TRADE_CANDLES])
    else:
        _delete_overlapping(connection, series, span, sql.Identifier("order_book_1s"), _SECOND)
        # A refresh under way may have read what goes here, and write it back where trades are stored.
        mark_features_stale(connection, series, span)
    _delete_imbalances(connection, series, span)


def delete_unreached_imbalances(connection: Connection, series: Series, span: TimeRange) -> None:
    """Delete imbalances of a span's stored trades or order books as far as no refresh reaches.

    In the caller's transaction, after the span was noted as stale: it may take some that a refresh computes again.
    """
    computed_from = _imbalances_computed_from(connection)
    if computed_from and span[0] < computed_from:
        _delete_imbalances(connection, series, (span[0], min(span[1], computed_from)))


def _imbalances_computed_from(connection: Connection) -> datetime | None:
    """From when on refreshes compute imbalances; None if retention has dropped no trades."""
    parameters = {"dataset": "trade", "timeframe_s": 0}
    _, dropped_before = one_row(connection.execute(query("read_refresh_bounds"), parameters))
    return _SECOND.ceil(dropped_before) + _REACH if dropped_before else None


def _delete_imbalances(connection: Connection, series: Series, span: TimeRange) -> None:
    key = {"instrument_id": series.instrument.instrument_id, "start": span[0], "end": span[1]}
    connection.execute(query("forget_imbalances"), {**key, "of_books": series.dataset == "order_book"})
    connection.execute(query("delete_empty_imbalances"), key)


def _delete_rollups(
    connection: Connection, series: Series, span: TimeRange, views: list[tuple[str, Timeframe]]
) -> None:
    for view, rollup in views:
        names = one_row(connection.execute(query("find_rollup_table"), {"view": view}))
        _delete_overlapping(connection, series, span, sql.Identifier(*names), rollup)


def _delete_overlapping(
    connection: Connection, series: Series, span: TimeRange, table: sql.Identifier, length: Timeframe
) -> None:
    statement = query("delete_overlapping").format(table=table)
    key = {"instrument_id": series.instrument.instrument_id, "start": span[0], "end": span[1]}
    connection.execute(statement, {**key, "length": length.length})
