"""Slices: what is stored of one instrument over some time, as columns in memory, read in one round trip.

A slice holds the ledger beside the rows, all of one snapshot, so that any moment in it is answered by the same planner
that answers from the database. What belongs to a moment is told by `Spec`; frames are made of it by `inference`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import numpy as np
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from tapehouse.book import LEVEL_COLUMNS
from tapehouse.candle import VALUE_COLUMNS, Float64Array, Int64Array
from tapehouse.errors import UnknownSeries
from tapehouse.query.features import IMBALANCE_REACH, IMBALANCES, blank_unknown, stale_imbalances
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
from tapehouse.ranges import TimeRange, intersect_ranges, merge_ranges
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import Dataset
from tapehouse.store.sql import query
from tapehouse.timeframe import EPOCH, Timeframe, to_us
from tapehouse.trade import Int16Array, StrArray

# Later than any row; PostgreSQL and Python can both still add to it.
FOREVER: Final = datetime(9000, 1, 1, tzinfo=UTC)
_ALL_TIME: Final = (EPOCH, FOREVER)
_ALL_SUBSTITUTES: Final = 1_000_000
_SERIES: Final[tuple[tuple[Dataset, int], ...]] = (
    *(("ohlcv", timeframe.seconds) for timeframe in LADDER),
    ("trade", NO_TIMEFRAME_S),
    ("order_book", NO_TIMEFRAME_S),
)
# The name of a table of candles and the length of its bars.
_Key: TypeAlias = tuple[str, int]


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
    """All that is needed to answer for any moment from `first` to `last`, which may be FOREVER."""

    question: Question
    spec: Spec
    ledger: Ledger
    first: datetime
    last: datetime
    candles: Mapping[_Key, Sequence[tuple[TimeRange, Candles]]]
    trades: Trades | None
    books: Books | None
    imbalances: Imbalances | None

    @property
    def bytes(self) -> int:
        """How much memory the rows take."""
        arrays = [array for parts in self.candles.values() for _, one in parts for array in (one.time_us, one.values)]
        for columns in (self.trades, self.books, self.imbalances):
            arrays += [getattr(columns, name) for name in type(columns).__dataclass_fields__] if columns else []
        return sum(array.nbytes for array in arrays)

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
        for span, candles in self.candles[read.table, read.timeframe.seconds]:
            if span[0] <= read.span[0] and read.span[1] <= span[1]:
                first, stop = np.searchsorted(candles.time_us, [to_us(bound) for bound in read.span]).tolist()
                return Candles(candles.time_us[first:stop], candles.values[:, first:stop])
        raise LookupError(f"The slice has no {read.name} from {read.span[0]} to {read.span[1]}.")

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
    tables: Mapping[str, Identifier],
    question: Question,
    spec: Spec,
    last: datetime,
    guess: Ledger | None,
) -> Slice:
    """The slice for moments from the question's start to `last`; its end must be `last`, or None for FOREVER.

    `tables` are the hypertables in which the rollups keep their rows. `guess` is an earlier ledger of the instrument:
    where what it says of its series still holds, there is one round trip. Raises UnknownSymbol, or UnknownSeries
    where nothing is stored of the instrument.
    """
    reader = _SliceReader(connection, tables, question, spec, last)
    guess = _guessed(guess, (reader.since, last)) if guess else None
    ledger = reader.read(guess)
    if not ledger.series:
        raise UnknownSeries(
            f"{question.exchange} {question.symbol} has nothing stored: run "
            f"`tapehouse ingest ohlcv --exchange {question.exchange} --symbol {question.symbol} --since 7d`."
        )
    if not (guess and _needs_no_more(ledger, guess)) and not reader.has_all(ledger):
        ledger = reader.read(ledger)
    return reader.slice(ledger)


def _guessed(ledger: Ledger, window: TimeRange) -> Ledger:
    """The ledger as if everything had been fetched: what is read so is all that can be needed."""
    series = {
        key: replace(state, covered=(_ALL_TIME,), stale_rollups=tuple(intersect_ranges(state.stale_rollups, [window])))
        for key, state in ledger.series.items()
    }
    return replace(ledger, series=series)


def _needs_no_more(ledger: Ledger, guess: Ledger) -> bool:
    """Whether no candles are needed by a ledger that are not by a guess: where the same is behind, less is covered."""
    return ledger.series.keys() == guess.series.keys() and all(
        (state.stale_rollups, state.dropped_before, state.id_bytes)
        == (guess.series[key].stale_rollups, guess.series[key].dropped_before, guess.series[key].id_bytes)
        for key, state in ledger.series.items()
    )


class _SliceReader:
    """Reads rows for as long as the ledger says that some are missing; all in the connection's transaction."""

    def __init__(
        self,
        connection: Connection,
        tables: Mapping[str, Identifier],
        question: Question,
        spec: Spec,
        last: datetime,
    ) -> None:
        self._connection, self._tables, self._question, self._spec = connection, tables, question, spec
        self._first, self._last = question.start, last
        self._candles: dict[_Key, list[tuple[TimeRange, Candles]]] = {}
        self._rows: dict[str, tuple[Any, ...]] = {}
        self._has_text_ids = False

    @property
    def since(self) -> datetime:
        """From when on the ledger is read."""
        return min(self._starts().values())

    def read(self, known: Ledger | None) -> Ledger:
        """Read the ledger, and the rows that are needed if it says what is known already; returns it."""
        connection = self._connection
        spans = list(self._missing(known)) if known else []
        ticks = self._tick_statements(known) if known else {}
        facts = connection.cursor(row_factory=dict_row)
        parameters = ledger_parameters(self._question, self._starts(), substitutes_at_most=_ALL_SUBSTITUTES)
        # Results are fetched once all is sent: that makes it one round trip.
        with connection.pipeline():
            facts.execute(query("read_series"), parameters, binary=True)
            candles = [connection.execute(*self._candle_statement(known, *one), binary=True) for one in spans]
            rows = {name: connection.execute(*one, binary=True) for name, one in ticks.items()}
        for (key, span), cursor in zip(spans, candles, strict=True):
            self._candles.setdefault(key, []).append((span, _candles(cursor.fetchone())))
        self._rows |= {name: cursor.fetchone() or () for name, cursor in rows.items()}
        return ledger_of(connection, self._question, facts.fetchall())

    def has_all(self, ledger: Ledger) -> bool:
        """Whether all rows that are needed by that ledger have been read."""
        has_ticks = self._tick_statements(ledger).keys() <= self._rows.keys()
        return has_ticks and self._has_text_ids >= _has_text_ids(ledger) and not any(self._missing(ledger))

    def slice(self, ledger: Ledger) -> Slice:
        """What was read."""
        return Slice(
            question=self._question,
            spec=self._spec,
            ledger=ledger,
            first=self._first,
            last=self._last,
            candles=self._candles,
            trades=_trades(self._rows.get("trade")),
            books=_books(self._rows.get("order_book"), self._spec.depth),
            imbalances=_imbalances(self._rows.get("imbalance"), ledger, (self._ticks_since, self._last)),
        )

    @property
    def _ticks_since(self) -> datetime:
        return self._spec.ticks_since(self._first)

    def _starts(self) -> dict[tuple[Dataset, int], datetime]:
        """From when on each series matters."""
        spec, first = self._spec, self._first
        starts: dict[tuple[Dataset, int], datetime] = {
            ("ohlcv", timeframe.seconds): spec.window(timeframe, first)[0] for timeframe in LADDER
        }
        # Longer candles are built from those of 1m.
        starts["ohlcv", MINUTE.seconds] = min(*starts.values(), spec.minutes_since(first))
        ticks_since = self._ticks_since - IMBALANCE_REACH
        starts |= {("trade", NO_TIMEFRAME_S): ticks_since, ("order_book", NO_TIMEFRAME_S): ticks_since}
        return starts

    def _missing(self, ledger: Ledger) -> Iterator[tuple[_Key, TimeRange]]:
        """The candles that are needed and have not been read."""
        needed: dict[_Key, list[TimeRange]] = {}
        for read in self._needed(ledger):
            if read.table != "trade":
                needed.setdefault((read.table, read.timeframe.seconds), []).append(read.span)
        for key, spans in needed.items():
            had = [span for span, _ in self._candles.get(key, ())]
            for start, end in merge_ranges(spans):
                if not any(first <= start and end <= stop for first, stop in had):
                    yield key, (start, end)

    def _needed(self, ledger: Ledger) -> Iterator[Read]:
        """All reads of any moment, whichever of its plans it takes."""
        series, spec = ledger.series, self._spec
        minutes, trades = series.get(("ohlcv", MINUTE.seconds)), ledger.find("trade")
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

    def _candle_statement(
        self, ledger: Ledger | None, key: _Key, span: TimeRange
    ) -> tuple[SQL | Composed, dict[str, Any]]:
        table, timeframe_s = key
        assert ledger is not None
        values = {"instrument_id": ledger.instrument_id, "start": span[0], "end": span[1]}
        if table == "ohlcv":
            return query("read_candle_arrays"), {**values, "timeframe_s": timeframe_s}
        return query("read_rollup_arrays").format(rollup=self._tables[table]), values

    def _tick_statements(self, ledger: Ledger) -> dict[str, tuple[SQL | Composed, dict[str, Any]]]:
        spec = self._spec
        statements: dict[str, tuple[SQL | Composed, dict[str, Any]]] = {}
        values = {"instrument_id": ledger.instrument_id, "start": self._ticks_since, "end": self._last}
        books, trades = ledger.find("order_book"), ledger.find("trade")
        if trades:
            self._has_text_ids = _has_text_ids(ledger)
            ids = Identifier("id" if self._has_text_ids else "trade_id")
            statements["trade"] = query("read_trade_arrays").format(ids=ids), values
        if books:
            # Of snapshots before the first moment only the last one matters, unless it was not known then.
            start = self._first - spec.context if spec.as_known else self._first
            if spec.as_known:
                start -= IMBALANCE_REACH
            bounds = {"first": self._first - spec.context, "start": start, "depth": spec.depth}
            statements["order_book"] = query("read_book_arrays"), values | bounds
        if books or trades:
            statements["imbalance"] = query("read_imbalance_arrays"), values
        return statements


def _has_text_ids(ledger: Ledger) -> bool:
    trades = ledger.find("trade")
    return bool(trades and trades.id_bytes)


def _candles(row: tuple[Any, ...] | None) -> Candles:
    time_us, *values = row or (None,)
    if time_us is None:
        return Candles(np.empty(0, dtype=np.int64), np.empty((len(VALUE_COLUMNS), 0)))
    return Candles(time_us, np.stack(values))


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
