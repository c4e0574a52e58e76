"""Slices: what is stored of one instrument over some time, as columns in memory, read in one round trip.

A slice holds the ledger beside the rows, all of one snapshot, so that any moment in it is answered by the same planner
that answers from the database. What belongs to a moment is told by `Spec`; frames are made of it by `inference`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from typing import Any, Final

import numpy as np
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from tapehouse.book import LEVEL_COLUMNS
from tapehouse.candle import VALUE_COLUMNS, Float64Array, Int64Array
from tapehouse.errors import UnknownSeries
from tapehouse.query.bars import Bars, RollupStatements
from tapehouse.query.features import IMBALANCE_REACH, IMBALANCES, blank_unknown, stale_imbalances
from tapehouse.query.guesses import Guesses, SeriesKey, differing, guess
from tapehouse.query.ledger import NO_TIMEFRAME_S, Ledger, ledger_of, ledger_parameters
from tapehouse.query.plan import (
    MINUTE,
    SECOND,
    Plan,
    Read,
    SeriesState,
    plan_candles,
    plan_minute_candles,
    plan_native_candles,
    plan_trade_candles,
)
from tapehouse.query.question import Question
from tapehouse.query.resample import Candles, bars_of_trades, lies_in
from tapehouse.query.spec import LADDER, Spec
from tapehouse.query.weight import array_bytes, ledger_bytes
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import Dataset
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, to_us
from tapehouse.trade import Int16Array, StrArray

# Of a series of which nothing is stored.
NOTHING_STORED: Final = SeriesState(revision=0, covered=(), dropped_before=None)
_ALL_SUBSTITUTES: Final = 1_000_000
_SERIES: Final[tuple[tuple[Dataset, int], ...]] = (
    *(("ohlcv", timeframe.seconds) for timeframe in LADDER),
    ("trade", NO_TIMEFRAME_S),
    ("order_book", NO_TIMEFRAME_S),
)


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Trades in their order, all of shape (n,); prices and amounts in whole ticks and lots, `side` as of `TradeBatch`.

    `ids` are int64, or texts where any is one.
    """

    time_us: Int64Array
    ids: Int64Array | StrArray
    price: Float64Array
    amount: Float64Array
    side: Int16Array


@dataclass(frozen=True, slots=True, eq=False)
class Books:
    """Snapshots of an order book, sorted by time; times of shape (n,), `levels` (n, 4, depth) in ticks and lots."""

    time_us: Int64Array
    received_us: Int64Array
    nonce: Int64Array
    levels: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Imbalances:
    """Imbalances by the second, sorted; `time_us` of shape (n,), `values` (8, n), without those that are stale."""

    time_us: Int64Array
    values: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """All that is needed to answer for any moment from `first` to `last`, which may be FOREVER.

    Rows of a stream that have not been stored can be laid over it, of the series in `laid_since` and from then on.
    """

    question: Question
    spec: Spec
    ledger: Ledger
    first: datetime
    last: datetime
    bars: Bars
    trades: Trades | None
    books: Books | None
    imbalances: Imbalances | None
    laid_since: Mapping[SeriesKey, datetime]

    @property
    def size_bytes(self) -> int:
        """How much memory the rows and the ledger take."""
        arrays: list[np.ndarray] = []
        for columns in (self.trades, self.books, self.imbalances):
            arrays += [getattr(columns, name) for name in type(columns).__dataclass_fields__] if columns else []
        return self.bars.size_bytes + array_bytes(arrays) + ledger_bytes(self.ledger)

    def plan(self, timeframe: Timeframe, window: TimeRange) -> Plan | None:
        """How its bars are answered; None where nothing stored can give such candles."""
        native, minutes = self._state("ohlcv", timeframe.seconds), self._state("ohlcv", MINUTE.seconds)
        plan = plan_candles(timeframe, window, native=native, minutes=minutes)
        trades = self._state("trade")
        if timeframe != SECOND or trades is None:
            return plan
        from_trades = plan_trade_candles(timeframe, window, trades)
        return plan if plan and plan.known_bars >= from_trades.known_bars else from_trades

    def read(self, read: Read) -> Candles:
        """The candles of a read that lies in the slice, in whole ticks and lots."""
        if read.table == "trade":
            return self._bars_of_trades(read)
        return self.bars.get(read)

    def _bars_of_trades(self, read: Read) -> Candles:
        trades = self.trades
        if trades is None:
            return Candles(np.empty(0, dtype=np.int64), np.empty((len(VALUE_COLUMNS), 0)))
        first, stop = np.searchsorted(trades.time_us, [to_us(bound) for bound in read.span]).tolist()
        return bars_of_trades(
            trades.time_us[first:stop], trades.price[first:stop], trades.amount[first:stop], read.timeframe
        )

    def _state(self, dataset: Dataset, timeframe_s: int = NO_TIMEFRAME_S) -> SeriesState | None:
        return self.ledger.series.get((dataset, timeframe_s))


def read_slice(
    connection: Connection,
    guesses: Guesses,
    question: Question,
    spec: Spec,
    last: datetime,
    laid_since: Mapping[SeriesKey, datetime],
) -> Slice:
    """The slice for moments from the question's start to `last`; its end must be `last`, or None for FOREVER.

    In one round trip, transaction and all, where what an earlier ledger of the instrument says of its series still
    holds. With `laid_since` also what is needed where rows of these series are laid over it, from then on. Raises
    UnknownSymbol, or UnknownSeries where nothing is stored of the instrument, nor can be laid over it.
    """
    if spec.indicators:
        # It takes over a second, once: here that is a reading thread's, later it would be an event loop's.
        import_module("talib")
    key = ("slice", question.exchange, question.symbol)
    known = guesses.get(key)
    # In one round trip, if what was known still holds.
    rows = None
    if known is not None:
        reader = _SliceReader(connection, guesses.rollups(connection), question, spec, last, laid_since)
        guessed = guess(known, reader.starts, last)
        rows = reader.read(guessed)
        rows = rows if reader.has_all(rows.ledger, guessed) else None
    if rows is None:
        reader = _SliceReader(connection, guesses.rollups(connection), question, spec, last, laid_since)
        rows = reader.read(reader.read_ledger())
    guesses.keep(key, rows.ledger)
    return rows


class _SliceReader:
    """Reads the rows that a ledger calls for."""

    def __init__(
        self,
        connection: Connection,
        rollups: RollupStatements,
        question: Question,
        spec: Spec,
        last: datetime,
        laid_since: Mapping[SeriesKey, datetime],
    ) -> None:
        self._connection, self._rollups, self._question, self._spec = connection, rollups, question, spec
        self._first, self._last, self._laid_since = question.start, last, laid_since
        self._ticks_since = spec.ticks_since(question.start)
        self.starts = self._series_starts()
        self._parameters = ledger_parameters(question, self.starts, substitutes_at_most=_ALL_SUBSTITUTES)
        self._bars = Bars()

    def read_ledger(self) -> Ledger:
        """Read the ledger alone; the transaction stays open."""
        facts = self._connection.cursor(row_factory=dict_row)
        return self._checked(facts.execute(query("read_series"), self._parameters, binary=True).fetchall())

    def read(self, known: Ledger) -> Slice:
        """The rows that are needed if the ledger says what is known, and the ledger; ends the transaction."""
        connection = self._connection
        ticks = self._tick_statements(known)
        facts = connection.cursor(row_factory=dict_row)
        # Results are fetched once all is sent: that makes it one round trip. The server works on ticks already while
        # bars are planned.
        with connection.pipeline():
            facts.execute(query("read_series"), self._parameters, binary=True)
            rows = {name: connection.execute(*one, binary=True) for name, one in ticks.items()}
            self._bars.send(connection, self._rollups, known.instrument_id, self._needed(known))
            connection.execute(query("end_transaction"))
        self._bars.receive()
        ledger = self._checked(facts.fetchall())
        found = {name: cursor.fetchone() for name, cursor in rows.items()}
        return Slice(
            question=self._question,
            spec=self._spec,
            ledger=ledger,
            first=self._first,
            last=self._last,
            bars=self._bars,
            trades=_trades(found.get("trade")),
            books=_books(found.get("order_book"), self._spec.depth),
            imbalances=_imbalances(found.get("imbalance"), ledger, (self._ticks_since, self._last)),
            laid_since=self._laid_since,
        )

    def has_all(self, ledger: Ledger, guessed: Ledger) -> bool:
        """Whether all that the ledger calls for was read, which was what the guess called for."""
        if ledger.instrument_id != guessed.instrument_id:
            return False
        changed = differing(ledger, guessed)
        if not changed:
            return True
        has_ticks = self._tick_statements(ledger).keys() <= self._tick_statements(guessed).keys()
        has_ids = _has_text_ids(ledger) == _has_text_ids(guessed)
        return has_ticks and has_ids and not self._bars.missing(self._needed(ledger, changed))

    def _checked(self, facts: Sequence[dict[str, Any]]) -> Ledger:
        question = self._question
        ledger = ledger_of(self._connection, question, facts)
        if not ledger.series and not self._laid_since:
            raise UnknownSeries(
                f"{question.exchange} {question.symbol} has nothing stored: run "
                f"`tapehouse ingest ohlcv --exchange {question.exchange} --symbol {question.symbol} --since 7d`."
            )
        return ledger

    def _series_starts(self) -> dict[SeriesKey, datetime]:
        """From when on each series matters."""
        spec, first = self._spec, self._first
        starts: dict[SeriesKey, datetime] = {
            ("ohlcv", timeframe.seconds): spec.window(timeframe, first)[0] for timeframe in LADDER
        }
        # Longer candles are built from those of 1m.
        starts["ohlcv", MINUTE.seconds] = min(*starts.values(), spec.minutes_since(first))
        ticks_since = self._ticks_since - IMBALANCE_REACH
        starts |= {("trade", NO_TIMEFRAME_S): ticks_since, ("order_book", NO_TIMEFRAME_S): ticks_since}
        return starts

    def _needed(self, ledger: Ledger, keys: Collection[SeriesKey] | None = None) -> Iterator[Read]:
        """All reads of any moment that rest on those series, or on all, whichever of its plans it takes."""
        series = {key: state for key, state in ledger.series.items() if keys is None or key in keys}
        yield from self._planned(series)
        if self._laid_since:
            # What is laid over is known, and it is not in the rollups; until it is stored, and refreshed into them.
            known = dict(ledger.series) | {
                key: self._laid(series.get(key), since) for key, since in self._laid_since.items()
            }
            yield from self._planned(known)
            fresh = {
                key: replace(known[key], stale_rollups=state.stale_rollups) for key, state in ledger.series.items()
            }
            yield from self._planned(known | fresh)

    def _laid(self, state: SeriesState | None, since: datetime) -> SeriesState:
        """How it is with a series of which everything is laid over it from that time on."""
        state, span = state or NOTHING_STORED, (since, self._last)
        return replace(state, covered=(*state.covered, span), stale_rollups=(*state.stale_rollups, span))

    def _planned(self, series: Mapping[SeriesKey, SeriesState]) -> Iterator[Read]:
        spec = self._spec
        minutes, trades = series.get(("ohlcv", MINUTE.seconds)), series.get(("trade", NO_TIMEFRAME_S))
        plans: list[Plan] = []
        for timeframe in LADDER:
            window = spec.window(timeframe, self._first)[0], spec.window(timeframe, self._last)[1]
            native = series.get(("ohlcv", timeframe.seconds))
            if timeframe == MINUTE:
                window = spec.minutes_since(self._first), window[1]
            if native:
                plans.append(plan_native_candles(timeframe, window, native))
            if timeframe > MINUTE and minutes:
                plans.append(plan_minute_candles(timeframe, window, minutes))
            if timeframe == SECOND and trades:
                plans.append(plan_trade_candles(timeframe, window, trades))
        for plan in plans:
            yield from plan.reads

    def _tick_statements(self, ledger: Ledger) -> dict[str, tuple[SQL | Composed, dict[str, Any]]]:
        spec = self._spec
        statements: dict[str, tuple[SQL | Composed, dict[str, Any]]] = {}
        values = {"instrument_id": ledger.instrument_id, "start": self._ticks_since, "end": self._last}
        books, trades = ledger.find("order_book"), ledger.find("trade")
        if trades:
            ids = Identifier("id" if _has_text_ids(ledger) else "trade_id")
            statements["trade"] = query("read_trade_arrays").format(ids=ids), values
        if books:
            # Of snapshots before the first moment only the last one matters, unless it was not known then: so that its
            # imbalances were not either.
            start = self._ticks_since - IMBALANCE_REACH if spec.as_known else self._first
            bounds = {"first": self._first - spec.context, "start": start, "depth": spec.depth}
            statements["order_book"] = query("read_book_arrays"), values | bounds
        if books or trades:
            statements["imbalance"] = query("read_imbalance_arrays"), values
        return statements


def _has_text_ids(ledger: Ledger) -> bool:
    trades = ledger.find("trade")
    return bool(trades and trades.id_bytes)


def _trades(row: tuple[Any, ...] | None) -> Trades | None:
    if row is None or row[0] is None:
        return None
    time_us, ids, *values = row
    return Trades(time_us, np.asarray(ids), *values)


def _books(row: tuple[Any, ...] | None, depth: int) -> Books | None:
    if row is None or row[0] is None:
        return None
    time_us, received_us, nonce, *levels = row
    return Books(time_us, received_us, nonce, np.stack(levels, axis=1).reshape(-1, len(LEVEL_COLUMNS), depth))


def _imbalances(row: tuple[Any, ...] | None, ledger: Ledger, window: TimeRange) -> Imbalances | None:
    if row is None or row[0] is None:
        return None
    time_us, values = row[0], np.stack(row[1:])
    stale = stale_imbalances(ledger.find("order_book"), ledger.find("trade"), window)
    fresh = ~lies_in(time_us, stale)
    time_us, values = (time_us, values) if fresh.all() else (time_us[fresh], values[:, fresh])
    blank_unknown(time_us, values, ledger.find("trade"))
    assert len(values) == len(IMBALANCES)
    return Imbalances(time_us, values)
