"""Archiving: what retention will drop soon goes into files, each compared with the database before it counts.

A file counts from when the ledger says so. Whoever is killed before leaves a file that does not count, and is run
again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tapehouse.archive.content import Content, ContentDigest
from tapehouse.archive.draft import ArchiveDraft, archive_draft, ensure_writable
from tapehouse.archive.layouts import Layout, layout_of
from tapehouse.archive.verifying import verify_archive
from tapehouse.errors import ArchiveError, InputError, StoreUnreachable, TapehouseError
from tapehouse.files.formats import label_in
from tapehouse.files.label import FileLabel
from tapehouse.files.places import partition_folder
from tapehouse.files.stored import read_window, timeframe_of
from tapehouse.query.archived import times_of
from tapehouse.ranges import TimeRange
from tapehouse.store.archive import Unarchived, begin_archive, forget_file, list_unarchived, record_archive
from tapehouse.store.connection import Connection, snapshot, store_errors
from tapehouse.store.instruments import Series
from tapehouse.store.locks import advisory_lock

# Any constant does, as long as every tapehouse uses the same: "arch" in ASCII.
_LOCK_KEY: Final = 0x61726368
_LOCK_WAIT_S: Final = 60.0
_LOCK_BUSY: Final = "Another archiving of this database has been running for a minute: try again later."

Status = Literal["archived", "changed", "failed"]


@dataclass(frozen=True, slots=True)
class ArchiveResult:
    """What became of a series' rows of a chunk.

    They are `archived` in the file at `path` below the archive's folder, or were `changed` meanwhile and wait for the
    next run, or `failed` by an error.
    """

    series: Series
    window: TimeRange
    rows: int
    status: Status
    path: str
    size_bytes: int = 0
    error: TapehouseError | None = None

    @property
    def name(self) -> str:
        """The series and the window's first day."""
        return f"{self.series} {self.window[0]:%Y-%m-%d}"


def archive_due(
    connection: Connection, root: Path, *, progress: Callable[[ArchiveResult], None] | None = None
) -> list[ArchiveResult]:
    """Archive in that folder what retention will drop soon, and no file holds, of the datasets that are archived.

    Calls `progress` after each file. One that fails stops no other, but StoreUnreachable does. Raises InputError where
    nothing can be written to the folder, and StoreError.
    """
    results: list[ArchiveResult] = []
    ensure_writable(root)
    with store_errors(), advisory_lock(connection, _LOCK_KEY, wait_s=_LOCK_WAIT_S, busy=_LOCK_BUSY):
        _forget_unsound(connection, root)
        for due in list_unarchived(connection):
            results.append(_try(connection, root, due))
            if progress:
                progress(results[-1])
    return results


def archive_path(series: Series, window: TimeRange) -> Path:
    """Where a file lies below the archive's folder: in folders named as Hive does, by the days of its time."""
    # A chunk's time begins and ends with a day, unless somebody has set another length.
    days = "_".join(f"{time:%Y-%m-%dT%H%M}".removesuffix("T0000") for time in window)
    return partition_folder(Path(), series, timeframe_of(series)) / f"{days}.parquet"


def _forget_unsound(connection: Connection, root: Path) -> None:
    """Let files count no longer that are gone or changed before their rows are: these can still be written anew.

    That is done over one that has changed only where it still tells that it is of this database.
    """
    for one in verify_archive(connection, root, only_stored=True):
        if one.state != "sound":
            forget_file(connection, one.file)


def _try(connection: Connection, root: Path, due: Unarchived) -> ArchiveResult:
    path = archive_path(due.series, due.window)
    try:
        with store_errors():
            return _archive(connection, root, path, due)
    except StoreUnreachable:
        raise
    except TapehouseError as error:
        return ArchiveResult(due.series, due.window, due.rows, "failed", str(path), error=error)


def _archive(connection: Connection, root: Path, path: Path, due: Unarchived) -> ArchiveResult:
    series, window = due.series, due.window
    # From here on a write to the window leaves nothing to be recorded.
    begin_archive(connection, series, window)
    with snapshot(connection):
        label, id_bytes = read_window(connection, series, window)
        _require_own(root / path, label)
        layout = layout_of(connection, series, window, label, id_bytes=id_bytes)
        stored = layout.stored(connection)
        with archive_draft(root / path, layout.schema) as draft:
            layout.stream(connection, draft.write)
            sha256 = draft.complete()
            if (written := _content(draft, layout)) != stored:
                raise ArchiveError(
                    f"What was written of {series} from {window[0].isoformat()} is not what is stored "
                    f"({written.rows:,} rows, and {stored.rows:,}): nothing was archived of it, nor will be dropped."
                )
            size_bytes = draft.keep()
    is_recorded = record_archive(connection, series, window, path=str(path), rows=stored.rows, sha256=sha256)
    return ArchiveResult(
        series, window, stored.rows, "archived" if is_recorded else "changed", str(path), size_bytes=size_bytes
    )


def _content(draft: ArchiveDraft, layout: Layout) -> Content:
    """What the file holds, read back from it."""
    digest = ContentDigest()
    for table in draft.tables():
        digest.add(times_of(table), layout.records(table))
    return digest.content()


def _require_own(path: Path, label: FileLabel) -> None:
    """Raise InputError where a file lies that no archiving of the same database has written."""
    if not path.exists():
        return
    found = label_in("parquet", path)
    if found is None or (found.name, found.first_seen_at) != (label.name, label.first_seen_at):
        raise InputError(
            f"{path} was not archived from this database, or was changed since: move it away, or archive to a folder "
            "of this database's own."
        )
