"""The archive as readers see it: rows that retention has dropped, from the files that hold them.

Which files those are, the database says; a file that is missing, or is another than was archived, is an error and
never passed over. How files come to be is `tapehouse.archive`.
"""

import hashlib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np

from tapehouse.book import LEVEL_COLUMNS, NO_NONCE
from tapehouse.candle import VALUE_COLUMNS, Float64Array, Int64Array
from tapehouse.config import settings_from_environment
from tapehouse.errors import ArchiveError, needs_extra
from tapehouse.query.ledger import Ledger
from tapehouse.query.plan import SeriesState
from tapehouse.query.resample import Candles, lies_in
from tapehouse.ranges import TimeRange, intersect_ranges
from tapehouse.store.archive import Archived, ArchivedFile, read_archived
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import Dataset
from tapehouse.store.ticks import Scale, to_ticks
from tapehouse.trade import BOUGHT, SOLD, UNKNOWN_SIDE, Int16Array, StrArray

# pyarrow's, which has no types.
Table: TypeAlias = Any
SeriesKey: TypeAlias = tuple[Dataset, int]

_SIDES: Final = {"buy": BOUGHT, "sell": SOLD, "unknown": UNKNOWN_SIDE}


class Archive:
    """The archive in a folder; any number of threads may use it at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._dropped_before: dict[SeriesKey, datetime] = {}

    @classmethod
    def configured(cls, root: Path | str | None) -> "Archive | None":
        """That in the folder given, else in that of TAPEHOUSE_ARCHIVE, if there is one."""
        folder = Path(root) if root else settings_from_environment().archive
        return cls(folder) if folder else None

    def is_needed(self, ledger: Ledger) -> bool:
        """Whether retention has dropped something of the time asked for."""
        return any(_reaches(state, ledger.start) for state in ledger.series.values())

    def was_needed(self, key: SeriesKey, start: datetime) -> bool:
        """Whether retention is known to have dropped something of that time, from what was asked before."""
        dropped_before = self._dropped_before.get(key)
        return dropped_before is not None and start < dropped_before

    def complete(self, connection: Connection, ledger: Ledger) -> Ledger:
        """The ledger, with what the archive holds of its series in the time asked for."""
        series = {key: self._complete(connection, ledger, key) for key in ledger.series}
        return replace(ledger, series=series)

    def _complete(self, connection: Connection, ledger: Ledger, key: SeriesKey) -> SeriesState:
        state = ledger.series[key]
        if not _reaches(state, ledger.start):
            return state
        assert state.dropped_before
        self._dropped_before[key] = state.dropped_before
        return replace(
            state, archived=read_archived(connection, self._root, ledger.instrument_id, *key, window=ledger.window)
        )


@dataclass(frozen=True, slots=True, eq=False)
class TradeColumns:
    """Trades at ordinary prices and amounts, in their order; `ids` are int64 where all of a file are whole numbers."""

    time_us: Int64Array
    ids: Int64Array | StrArray
    price: Float64Array
    amount: Float64Array
    side: Int16Array


@dataclass(frozen=True, slots=True, eq=False)
class BookColumns:
    """Snapshots at ordinary prices and amounts; `levels` has the shape (n, 4, depth), NaN where there are fewer."""

    time_us: Int64Array
    received_us: Int64Array
    nonce: Int64Array
    levels: Float64Array


C = TypeVar("C", TradeColumns, BookColumns)


def archived_candles(archived: Archived, span: TimeRange, scale: Scale) -> list[Candles]:
    """The archived candles that open in the span, in whole ticks and lots, file by file."""
    return [candles_of(table, scale) for table in _tables(archived, span)]


def archived_trades(archived: Archived, span: TimeRange) -> list[TradeColumns]:
    """The archived trades of the span, file by file."""
    return [trades_of(table) for table in _tables(archived, span)]


def archived_books(archived: Archived, span: TimeRange, depth: int) -> list[BookColumns]:
    """The archived snapshots of the span with so many levels, file by file."""
    return [books_of(table, depth) for table in _tables(archived, span)]


def times_of(table: Table, name: str = "time") -> Int64Array:
    """A column of times of a table of the archive, in microseconds since 1970 UTC."""
    return _column(table, name).view("int64").to_numpy()


def joined(parts: Sequence[C]) -> C:
    """The rows of all parts, one part after the other; ids of trades are texts where those of a part are."""
    first, *more = parts
    if not more:
        return first
    return type(first)(*(_one_after_another([getattr(part, one.name) for part in parts]) for one in fields(first)))


def candles_of(table: Table, scale: Scale) -> Candles:
    """The candles of a table of the archive, in whole ticks and lots."""
    values = [to_ticks(_numbers(table, name), scale.decimals(name)) for name in VALUE_COLUMNS]
    return Candles(times_of(table), np.stack(values))


def trades_of(table: Table) -> TradeColumns:
    """The trades of a table of the archive."""
    ids = _column(table, "trade_id")
    sides = _column(table, "side")
    codes = np.array([_SIDES[word] for word in sides.dictionary.to_pylist()], dtype=np.int16)
    return TradeColumns(
        times_of(table),
        np.array(ids.to_pylist(), dtype=np.str_) if _is_text(ids) else ids.to_numpy(),
        _numbers(table, "price"),
        _numbers(table, "amount"),
        codes[sides.indices.to_numpy()],
    )


def books_of(table: Table, depth: int) -> BookColumns:
    """The snapshots of a table of the archive, cut or filled up to so many levels."""
    levels = np.stack([_levels(_column(table, name), depth) for name in LEVEL_COLUMNS], axis=1)
    nonce = _column(table, "nonce").fill_null(NO_NONCE).to_numpy()
    return BookColumns(times_of(table), times_of(table, "received_at"), nonce, levels)


def _one_after_another(arrays: Sequence[Any]) -> Any:  # noqa: ANN401 -- of any dtype
    if any(array.dtype.kind == "U" for array in arrays):
        arrays = [array.astype(np.str_) for array in arrays]
    return np.concatenate(arrays)


def _reaches(state: SeriesState, start: datetime) -> bool:
    return state.dropped_before is not None and start < state.dropped_before


def _tables(archived: Archived, span: TimeRange) -> Iterator[Table]:
    """What the files hold of the span, a table a file."""
    for file in archived.files:
        if wanted := intersect_ranges(file.kept, [span]):
            yield _read(archived.root, file, wanted)


def _read(root: Path, file: ArchivedFile, wanted: Sequence[TimeRange]) -> Table:
    with needs_extra("Reading the archive needs", "pyarrow", extra="parquet"):
        pa: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    with parquet.ParquetFile(pa.BufferReader(_verified_bytes(root / file.path, file.sha256))) as opened:
        groups = [number for number in range(opened.num_row_groups) if _may_hold(opened, number, wanted)]
        table = opened.read_row_groups(groups)
    return table.filter(pa.array(lies_in(times_of(table), wanted)))


def _verified_bytes(path: Path, sha256: str) -> bytes:
    """What the file holds; raises ArchiveError if that is not what was archived."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArchiveError(
            f"The archive has no {path} ({error.strerror}), and the database no longer has its rows: bring the file "
            "back, or name the right folder by TAPEHOUSE_ARCHIVE or connect(archive=...)."
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArchiveError(
            f"{path} is not what was archived: its content has changed, and the database no longer has its rows. "
            "Bring back a copy of it."
        )
    return content


def _may_hold(opened: Any, number: int, wanted: Sequence[TimeRange]) -> bool:  # noqa: ANN401 -- pyarrow ships no types
    """Whether rows of a row group can lie in the ranges; `time` is the first column."""
    span = opened.metadata.row_group(number).column(0).statistics
    return any(start <= span.max and span.min < end for start, end in wanted)


def _column(table: Table, name: str) -> Any:  # noqa: ANN401 -- pyarrow ships no types
    return table[name].combine_chunks()


def _numbers(table: Table, name: str) -> Float64Array:
    return _column(table, name).to_numpy()


def _is_text(column: Any) -> bool:  # noqa: ANN401 -- pyarrow ships no types
    return str(column.type) == "string"


def _levels(column: Any, depth: int) -> Float64Array:  # noqa: ANN401 -- pyarrow ships no types
    """Lists of numbers as an array of shape (n, depth), cut or filled up with NaN."""
    offsets = column.offsets.to_numpy()
    places = offsets[:-1, np.newaxis] + np.arange(depth)
    is_there = places < offsets[1:, np.newaxis]
    levels = np.full(is_there.shape, np.nan)
    levels[is_there] = column.values.to_numpy()[places[is_there]]
    return levels
