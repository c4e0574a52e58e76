"""Keeping `order_book_1s` and `imbalance` in step with the snapshots and trades they are computed from.

What was written since the last refresh is in `stale_feature`, put there by the write itself, so a
refresh computes those seconds and no others, and one that is killed is done again. The formulas
are in `tapehouse.features`, what they are given is read in `tapehouse.store.feature_sources`.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final

import numpy as np
from psycopg import sql

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.features.book import book_features
from tapehouse.features.imbalance import REACH_S, imbalances
from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.arrays import FloatColumn, IntegerColumn, TimeColumn
from tapehouse.store.connection import Connection, one_row, store_errors
from tapehouse.store.feature_sources import read_last_books, read_seconds_of_books, read_seconds_of_trades
from tapehouse.store.instruments import Dataset
from tapehouse.store.locks import advisory_lock
from tapehouse.store.races import try_again
from tapehouse.store.sql import query
from tapehouse.timeframe import EPOCH, timeframe, to_us

# Any constant does, as long as every tapehouse and its retention job use the same: "feat" in ASCII.
_LOCK_KEY: Final = 0x66656174
_LOCK_WAIT_S: Final = 600.0
_LOCK_BUSY: Final = "Another refresh of the features has been running for ten minutes: try again later."
_PIECE_BUSY: Final = "Another program keeps the features locked: try again later."

_SECOND: Final = timeframe("1s")
# So much is read, computed and committed at a time.
_PIECE: Final = timeframe("1h")
_REACH: Final = timedelta(seconds=REACH_S)
# How far ahead is looked at first where an hour was empty, and how much further each time in vain.
_FIRST_LOOK: Final = timedelta(days=1)
_FURTHER: Final = 8


@dataclass(frozen=True, slots=True)
class FeatureRefresh:
    """What a refresh of features did.

    `ranges` are those it went over, of any instrument; `written` and `removed` count rows that were not
    stored as computed, `settled` the notes of stale ranges that are made good.
    """

    ranges: tuple[TimeRange, ...]
    written: int
    removed: int
    settled: int


@dataclass(frozen=True, slots=True, eq=False)
class _Notes:
    """Notes of one dataset that begin in the same hour and end in the same hour, from the first to the last time."""

    dataset: Dataset
    start: datetime
    end: datetime
    stale_ids: Int64Array


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Until when seconds have ended, and since when retention has left what features are computed from."""

    until: datetime
    books_since: datetime
    imbalances_since: datetime


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Seconds of one instrument to be computed in one transaction; `books` are those with new snapshots."""

    stale_ids: Int64Array
    span: TimeRange
    books: TimeRange | None
    # Imbalances after the span are another piece's from here on.
    next_start: datetime


def refresh_features(
    connection: Connection, *, progress: Callable[[str, TimeRange], None] | None = None
) -> FeatureRefresh:
    """Compute the features over exactly what was written since they were last computed.

    Seconds that have not ended by the server's clock stay noted as stale. Where retention has dropped what
    a row is computed from, the row stays as it is. Calls `progress` with the instrument's name and the range
    before each piece of at most an hour; hours without any rows are passed together, unsaid. Revisions do
    not grow: they are of what was written.
    """
    # Of two refreshes at once, one could write what it has computed from less than the other.
    with store_errors(), refresh_lock(connection):
        bounds = _read_bounds(connection)
        done: list[FeatureRefresh] = []
        for instrument_id, exchange, symbol in connection.execute(query("read_stale_instruments")).fetchall():
            pieces = deque(_pieces(_read_notes(connection, instrument_id), bounds.until))
            while pieces:
                piece = pieces.popleft()
                if progress:
                    progress(f"{exchange} {symbol}", piece.span)
                done.append(_refresh_whole(connection, instrument_id, piece, bounds))
                if not done[-1].written + done[-1].removed:
                    done.append(_pass_empty(connection, instrument_id, pieces))
    return FeatureRefresh(
        tuple(merge_ranges(span for one in done for span in one.ranges)),
        sum(one.written for one in done),
        sum(one.removed for one in done),
        sum(one.settled for one in done),
    )


def refresh_lock(connection: Connection) -> AbstractContextManager[None]:
    """Let nobody else refresh the features while the block runs; raises StoreError after ten minutes in vain."""
    return advisory_lock(connection, _LOCK_KEY, wait_s=_LOCK_WAIT_S, busy=_LOCK_BUSY)


def _refresh_whole(connection: Connection, instrument_id: int, piece: _Piece, bounds: _Bounds) -> FeatureRefresh:
    def act() -> FeatureRefresh:
        with connection.transaction():
            return _refresh(connection, instrument_id, piece, bounds)

    return try_again(act, busy=_PIECE_BUSY)


def _pass_empty(connection: Connection, instrument_id: int, pieces: deque[_Piece]) -> FeatureRefresh:
    """Take off the front what has nothing to compute from and nothing computed: years of it cost a few looks."""
    empty: list[_Piece] = []
    time = None
    look = _FIRST_LOOK
    while pieces and time is None:
        start = pieces[0].span[0]
        time = _next_time(connection, instrument_id, start - _REACH, start + look)
        passed = time or start + look
        while pieces and pieces[0].span[1] + _REACH <= passed:
            empty.append(pieces.popleft())
        look *= _FURTHER
    return _settle(connection, empty) if empty else FeatureRefresh((), 0, 0, 0)


def _next_time(connection: Connection, instrument_id: int, start: datetime, end: datetime) -> datetime | None:
    """When there is first anything to compute from, or computed, in [start, end)."""
    parameters = {"instrument_id": instrument_id, "start": start, "end": end}
    return one_row(connection.execute(query("read_next_feature_time"), parameters, prepare=False))[0]


def _settle(connection: Connection, pieces: Sequence[_Piece]) -> FeatureRefresh:
    """Trim the notes of pieces that there is nothing to do about."""
    stale_ids = np.unique(np.concatenate([piece.stale_ids for piece in pieces]))
    parameters = {"stale_ids": IntegerColumn(stale_ids), "until": pieces[-1].span[1]}
    statement = query("settle_stale_features")
    (settled,) = try_again(lambda: one_row(connection.execute(statement, parameters)), busy=_PIECE_BUSY)
    return FeatureRefresh(tuple(piece.span for piece in pieces), 0, 0, settled)


def _read_notes(connection: Connection, instrument_id: int) -> list[_Notes]:
    key = {"instrument_id": instrument_id}
    return [_Notes(*row) for row in connection.execute(query("read_stale_features"), key, binary=True)]


def _read_bounds(connection: Connection) -> _Bounds:
    def dropped_before(dataset: Dataset) -> tuple[datetime, datetime]:
        parameters = {"dataset": dataset, "timeframe_s": 0}
        now, before = one_row(connection.execute(query("read_refresh_bounds"), parameters))
        return now, _SECOND.ceil(before) if before else EPOCH

    now, books_since = dropped_before("order_book")
    _, trades_since = dropped_before("trade")
    return _Bounds(_SECOND.floor(now), books_since, trades_since + _REACH)


def _pieces(noted: Iterable[_Notes], until: datetime) -> Iterator[_Piece]:
    """What the notes of an instrument say of seconds that have ended, cut at full hours, oldest first."""
    by_hour: dict[datetime, list[_Notes]] = defaultdict(list)
    for notes in noted:
        for hour in _hours(_SECOND.floor(notes.start), min(_SECOND.ceil(notes.end), until)):
            by_hour[hour].append(notes)
    hours = sorted(by_hour)
    for hour, following in zip_longest(hours, hours[1:]):
        here = by_hour[hour]
        books = [notes for notes in here if notes.dataset == "order_book"]
        yield _Piece(
            np.concatenate([notes.stale_ids for notes in here]),
            _touched(here, hour, until),
            _touched(books, hour, until) if books else None,
            _touched(by_hour[following], following, until)[0] if following else until,
        )


def _hours(start: datetime, end: datetime) -> Iterator[datetime]:
    """The hours in which some of [start, end) lies."""
    hour = _PIECE.floor(start)
    while max(hour, start) < end:
        yield hour
        hour = _PIECE.close(hour)


def _touched(notes: Sequence[_Notes], hour: datetime, until: datetime) -> TimeRange:
    """One range from the first to the last second of an hour that has ended and that notes touch."""
    start = _SECOND.floor(min(one.start for one in notes))
    end = _SECOND.ceil(max(one.end for one in notes))
    return max(start, hour), min(end, _PIECE.close(hour), until)


def _refresh(connection: Connection, instrument_id: int, piece: _Piece, bounds: _Bounds) -> FeatureRefresh:
    """Compute a piece and trim its notes."""
    # Widening multiplies features with their sources, so it must not come between reading and writing.
    connection.execute(query("share_instrument"), {"instrument_id": instrument_id})
    connection.execute(query("allow_decompression"))
    counts = [(0, 0)]
    if piece.books:
        counts.append(_refresh_books(connection, instrument_id, _clip(piece.books, bounds.books_since)))
    start, end = piece.span
    reached = (start, min(end + _REACH, piece.next_start, bounds.until))
    counts.append(_refresh_imbalances(connection, instrument_id, _clip(reached, bounds.imbalances_since)))
    settle = {"stale_ids": IntegerColumn(piece.stale_ids), "until": end}
    (settled,) = one_row(connection.execute(query("settle_stale_features"), settle))
    written, removed = zip(*counts, strict=True)
    return FeatureRefresh((piece.span,), sum(written), sum(removed), settled)


def _clip(span: TimeRange, since: datetime) -> TimeRange:
    return max(span[0], since), span[1]


def _refresh_books(connection: Connection, instrument_id: int, span: TimeRange) -> tuple[int, int]:
    if span[0] >= span[1]:
        return 0, 0
    books = read_last_books(connection, instrument_id, span)
    second_us = _SECOND.floor_us(books.time_us)
    return _replace(
        connection, "order_book_1s", query("upsert_book_features"), instrument_id, span, second_us, book_features(books)
    )


def _refresh_imbalances(connection: Connection, instrument_id: int, span: TimeRange) -> tuple[int, int]:
    if span[0] >= span[1]:
        return 0, 0
    read = (span[0] - _REACH, span[1])
    found = imbalances(
        read_seconds_of_books(connection, instrument_id, read), read_seconds_of_trades(connection, instrument_id, read)
    )
    asked = found.second_us >= to_us(span[0])
    columns = {name: values[asked] for name, values in found.columns.items()}
    return _replace(
        connection, "imbalance", query("upsert_imbalances"), instrument_id, span, found.second_us[asked], columns
    )


def _replace(
    connection: Connection,
    table: str,
    upsert: sql.SQL,
    instrument_id: int,
    span: TimeRange,
    second_us: Int64Array,
    columns: dict[str, Float64Array],
) -> tuple[int, int]:
    """Make the rows of a span these and no others; returns how many had to be written and how many to be removed."""
    key = {"instrument_id": instrument_id, "start": span[0], "end": span[1]}
    parameters = {**key, "time": TimeColumn(second_us)}
    # A delete decompresses what could hold its rows, so it is told which they are and left out where none is.
    vanished = query("read_vanished_features").format(table=sql.Identifier(table))
    (gone_us,) = one_row(connection.execute(vanished, parameters, prepare=False, binary=True))
    if gone_us is not None:
        delete = query("delete_features").format(table=sql.Identifier(table))
        connection.execute(delete, {**key, "time": TimeColumn(gone_us)}, prepare=False)
    rows = {name: FloatColumn(values) for name, values in columns.items()}
    written = connection.execute(upsert, {**parameters, **rows}, prepare=False).rowcount if len(second_us) else 0
    return written, 0 if gone_us is None else len(gone_us)
