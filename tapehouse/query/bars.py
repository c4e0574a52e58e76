"""Candles of few rows: read as arrays, so that several reads share a round trip, and found again by what was read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from psycopg import Cursor
from psycopg.sql import SQL, Identifier

from tapehouse.candle import PRICE_COLUMNS, VALUE_COLUMNS, Int64Array
from tapehouse.query.plan import Read
from tapehouse.query.resample import Candles, merge_candles
from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.connection import Connection
from tapehouse.store.sql import query
from tapehouse.timeframe import to_us

# By the names of the rollups what reads their rows, from the hypertables in which they keep them: what the views add to
# these is never planned to be read.
RollupStatements: TypeAlias = Mapping[str, bytes]
# The name of a table of candles and the length of its bars.
_Key: TypeAlias = tuple[str, int]
Span: TypeAlias = tuple[_Key, TimeRange]


class Bars:
    """Candles that have been read, in whole ticks and lots."""

    def __init__(self) -> None:
        self._sent: list[tuple[Span, Cursor[tuple[Any, ...]]]] = []
        self._parts: dict[_Key, list[tuple[TimeRange, Candles]]] = {}

    def send(
        self, connection: Connection, rollups: RollupStatements, instrument_id: int, reads: Iterable[Read]
    ) -> None:
        """Ask for what is missing of those reads, a row a span; in a pipeline nothing is waited for."""
        for span in self.missing(reads):
            cursor = connection.execute(*_statement(rollups, instrument_id, span), binary=True)
            self._sent.append((span, cursor))

    def receive(self) -> None:
        """Take all that was sent for."""
        for (key, bounds), cursor in self._sent:
            self._parts.setdefault(key, []).append((bounds, _candles(cursor.fetchone())))
        self._sent = []

    def missing(self, reads: Iterable[Read]) -> list[Span]:
        """The spans of those reads that have not been read, as few as sensible; trades are not of their kind."""
        wanted: dict[_Key, list[TimeRange]] = {}
        for read in reads:
            if read.table != "trade" and self._part(read) is None:
                wanted.setdefault(_key(read), []).append(read.span)
        return [(key, span) for key, spans in wanted.items() for span in merge_ranges(spans)]

    def get(self, read: Read) -> Candles:
        """The candles of a read, which share memory with these; raises LookupError if they have not been read."""
        candles = self._part(read)
        if candles is None:
            raise LookupError(f"{read.name} was not read from {read.span[0]} to {read.span[1]}.")
        first, stop = np.searchsorted(candles.time_us, [to_us(bound) for bound in read.span]).tolist()
        return Candles(candles.time_us[first:stop], candles.values[:, first:stop])

    def with_candles(self, timeframe_s: int, candles: Candles) -> tuple["Bars", Int64Array]:
        """These and those of some native candles that are not among them, where they belong; and when these open."""
        other = Bars()
        other._parts = dict(self._parts)
        key, added = ("ohlcv", timeframe_s), np.zeros(len(candles), dtype=np.bool_)
        parts: list[tuple[TimeRange, Candles]] = []
        for bounds, known in self._parts.get(key, ()):
            first, stop = np.searchsorted(candles.time_us, [to_us(bound) for bound in bounds])
            is_new = ~np.isin(candles.time_us, known.time_us)
            is_new[:first] = is_new[stop:] = False
            new = Candles(candles.time_us[is_new], candles.values[:, is_new])
            parts.append((bounds, merge_candles([known, new]) if len(new) else known))
            added |= is_new
        other._parts[key] = parts
        return other, candles.time_us[added]

    def in_units(self, price: float, amount: float) -> "Bars":
        """These in smaller ticks and lots, of which so many make one."""
        other = Bars()
        units = np.array([*(price for _ in PRICE_COLUMNS), amount])[:, np.newaxis]
        other._parts = {
            key: [(bounds, Candles(known.time_us, known.values * units)) for bounds, known in parts]
            for key, parts in self._parts.items()
        }
        return other

    def largest(self) -> tuple[float, float]:
        """The largest price and the largest volume, in ticks and lots; 0 without any."""
        parts = [known.values for some in self._parts.values() for _, known in some if len(known)]
        prices = max((float(values[: len(PRICE_COLUMNS)].max()) for values in parts), default=0.0)
        return prices, max((float(values[len(PRICE_COLUMNS)].max()) for values in parts), default=0.0)

    def __len__(self) -> int:
        return sum(len(candles) for parts in self._parts.values() for _, candles in parts)

    @property
    def size_bytes(self) -> int:
        """How much memory they take."""
        return 8 * (1 + len(VALUE_COLUMNS)) * len(self)

    def _part(self, read: Read) -> Candles | None:
        parts = self._parts.get(_key(read), ())
        return next((one for (start, end), one in parts if start <= read.span[0] and read.span[1] <= end), None)


def rollup_statements(connection: Connection) -> RollupStatements:
    """What reads the rows of each rollup, written once."""
    rows = connection.execute(query("list_rollup_tables"))
    statement = query("read_rollup_arrays")
    return {view: statement.format(rollup=Identifier(*names)).as_bytes(connection) for view, *names in rows}


def _statement(rollups: RollupStatements, instrument_id: int, span: Span) -> tuple[SQL | bytes, dict[str, Any]]:
    (table, timeframe_s), (start, end) = span
    values = {"instrument_id": instrument_id, "start": start, "end": end}
    if table == "ohlcv":
        return query("read_candle_arrays"), {**values, "timeframe_s": timeframe_s}
    return rollups[table], values


def _key(read: Read) -> _Key:
    return read.table, read.timeframe.seconds


def _candles(row: Sequence[Any] | None) -> Candles:
    time_us, *values = row or (None,)
    if time_us is None:
        return Candles(np.empty(0, dtype=np.int64), np.empty((len(VALUE_COLUMNS), 0)))
    return Candles(time_us, np.stack(values))
