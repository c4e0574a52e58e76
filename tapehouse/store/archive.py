"""The ledger of the archive: which datasets are archived, what of them is not yet, and which files hold what.

How files are written and verified is `tapehouse.archive`. A row of the ledger says that a file holds exactly what is
stored: a write to its time removes the row (`sql/migrations`), and retention drops nothing that has none.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from psycopg import errors
from psycopg.rows import class_row, dict_row
from psycopg.types.range import TimestamptzRange

from tapehouse.ranges import TimeRange
from tapehouse.store.batch import lock_series
from tapehouse.store.connection import Connection, store_errors
from tapehouse.store.instruments import (
    BookSeries,
    CandleSeries,
    Dataset,
    Series,
    TradeSeries,
    find_instrument,
)
from tapehouse.store.retention import read_kept
from tapehouse.store.rollups import BASE_TIMEFRAME
from tapehouse.store.sql import query

ARCHIVED_DATASETS: Final[tuple[Dataset, ...]] = ("ohlcv", "trade", "order_book")
# What retention drops within this is archived now: it runs daily, and so does archiving.
_AHEAD: Final = timedelta(days=2)
# Retention has dropped a chunk, all at once, after it was listed: its name is not found, or is a number by then.
_CHUNK_GONE: Final = (errors.UndefinedTable, errors.SyntaxError)


@dataclass(frozen=True, slots=True)
class Unarchived:
    """Rows of a series that retention will drop soon and no file holds: those of a chunk."""

    series: Series
    window: TimeRange
    rows: int


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """A verified file of the archive, at a path relative to its folder; if `is_dropped`, nothing else has its rows."""

    exchange: str
    symbol: str
    dataset: Dataset
    start: datetime
    end: datetime
    path: str
    rows: int
    sha256: str
    verified_at: datetime
    is_dropped: bool


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file with rows that retention has dropped, of which those in `kept` count; `path` is relative to the folder."""

    path: str
    sha256: str
    kept: tuple[TimeRange, ...]


@dataclass(frozen=True, slots=True)
class Archived:
    """What the archive in a folder holds of a series: all of `ranges`; `files` are those of the time asked for."""

    root: Path
    ranges: tuple[TimeRange, ...]
    files: tuple[ArchivedFile, ...]


def read_archiving(connection: Connection) -> list[Dataset]:
    """The datasets that have to be in the archive before retention drops them."""
    with store_errors():
        return [dataset for (dataset,) in connection.execute(query("read_archiving"))]


def switch_archiving(connection: Connection, *, on: Collection[Dataset] = (), off: Collection[Dataset] = ()) -> None:
    """Have those datasets archived before retention drops them, or no longer so."""
    with store_errors(), connection.transaction():
        connection.execute(query("insert_archiving"), {"datasets": list(on)})
        connection.execute(query("delete_archiving"), {"datasets": list(off)})


def list_unarchived(connection: Connection) -> list[Unarchived]:
    """What has to be archived now, since retention will drop it soon; oldest first."""
    is_on = read_archiving(connection)
    keeps = {one.dataset: one.keep for one in read_kept(connection) if one.keep and one.dataset in is_on}
    parameters = {"datasets": list(keeps), "keeps": list(keeps.values()), "ahead": _AHEAD}
    with store_errors():
        try:
            rows = _read_unarchived(connection, parameters)
        except _CHUNK_GONE:
            rows = _read_unarchived(connection, parameters)
    return [_unarchived(connection, row) for row in rows]


def list_archive(connection: Connection, *, only_stored: bool = False) -> list[RecordedFile]:
    """All files of the archive; with `only_stored`, those whose rows are stored, too."""
    with store_errors(), connection.cursor(row_factory=class_row(RecordedFile)) as cursor:
        return cursor.execute(query("list_archive"), {"only_stored": only_stored}).fetchall()


def begin_archive(connection: Connection, series: Series, window: TimeRange) -> None:
    """Note, in a transaction of its own, that a file of that window is being made; a write to it removes the note.

    No writer is under way then that would not see the note.
    """
    with store_errors(), connection.transaction():
        lock_series(connection, series)
        connection.execute(query("begin_archive"), {"series_id": series.series_id, "during": TimestamptzRange(*window)})


def record_archive(
    connection: Connection, series: Series, window: TimeRange, *, path: str, rows: int, sha256: str
) -> bool:
    """Note that a file, whose rows were read after `begin_archive`, holds the window; False where it is behind."""
    parameters = {
        "series_id": series.series_id,
        "during": TimestamptzRange(*window),
        "path": path,
        "rows": rows,
        "sha256": sha256,
    }
    with store_errors():
        return connection.execute(query("record_archive"), parameters).rowcount == 1


def forget_file(connection: Connection, file: RecordedFile) -> None:
    """Let a file count no longer, unless nothing else has its rows."""
    with store_errors():
        connection.execute(query("delete_archive"), {"path": file.path})


def read_archived(
    connection: Connection, root: Path, instrument_id: int, dataset: Dataset, timeframe_s: int, *, window: TimeRange
) -> Archived | None:
    """What the archive holds of a window of a series that retention has dropped; None where that is nothing."""
    key = {"instrument_id": instrument_id, "dataset": dataset, "timeframe_s": timeframe_s}
    rows = connection.execute(query("read_archived"), {**key, "start": window[0], "end": window[1]}).fetchall()
    if not rows:
        return None
    files = tuple(ArchivedFile(path, sha256, _ranges(kept)) for _, path, sha256, kept in rows if path)
    return Archived(root, _ranges(rows[0][0]), files)


def _read_unarchived(connection: Connection, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query("list_unarchived"), parameters).fetchall()


def _unarchived(connection: Connection, row: dict[str, Any]) -> Unarchived:
    instrument = find_instrument(connection, row["exchange"], row["symbol"])
    series: Series
    match row["dataset"]:
        case "ohlcv":
            series = CandleSeries(row["series_id"], instrument, BASE_TIMEFRAME)
        case "trade":
            series = TradeSeries(row["series_id"], instrument)
        case _:
            series = BookSeries(row["series_id"], instrument)
    return Unarchived(series, (row["range_start"].astimezone(UTC), row["range_end"].astimezone(UTC)), row["rows"])


def _ranges(multirange: Any) -> tuple[TimeRange, ...]:  # noqa: ANN401 -- psycopg's multirange of times
    return tuple((one.lower.astimezone(UTC), one.upper.astimezone(UTC)) for one in multirange)
