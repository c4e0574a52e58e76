"""A file of the archive that is being written: on the disk before it has its name, and read back before that."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tapehouse.files.arrow import Rows, Schema, pa, parquet
from tapehouse.files.background import writing
from tapehouse.files.checksums import sha256_of
from tapehouse.files.formats import parquet_settings
from tapehouse.files.label import rows_told


class ArchiveDraft:
    """A Parquet file under another name in the same folder; each table is a row group."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self._path = path
        # One process archives at a time: what is there of that name was left by one that was killed.
        self._part = path.with_name(f".{path.name}.part")
        self._rows = 0
        with writing(path):
            _make_folder(path.parent)
            self._writer: Any = parquet.ParquetWriter(self._part, schema, **parquet_settings(schema))

    def write(self, table: Rows) -> None:
        """Add rows."""
        with writing(self._path):
            self._writer.write_table(table)
        self._rows += len(table)

    def complete(self) -> str:
        """Put all of it on the disk, and tell its SHA-256; what is read from here on is the finished file."""
        with writing(self._path):
            self._writer.add_key_value_metadata(rows_told(self._rows))
            self._writer.close()
            _sync(self._part)
        return sha256_of(self._part)

    def tables(self) -> Iterator[Rows]:
        """What the completed file holds, a row group at a time."""
        with parquet.ParquetFile(self._part) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number)

    def keep(self) -> int:
        """Give the completed file its name; tells its size in bytes."""
        with writing(self._path):
            self._part.replace(self._path)
            _sync(self._path.parent)
            return self._path.stat().st_size

    def discard(self) -> None:
        """Leave nothing of it, unless it was kept."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def archive_draft(path: Path, schema: Schema) -> Generator[ArchiveDraft]:
    """A draft of which nothing is left afterwards, unless it was kept; raises InputError where it can't be written."""
    draft = ArchiveDraft(path, schema)
    try:
        yield draft
    finally:
        draft.discard()


def ensure_writable(folder: Path) -> None:
    """Make the folder where there is none; raises InputError where no file can be written to it."""
    with writing(folder):
        _make_folder(folder)
        with TemporaryFile(dir=folder) as probe:
            probe.write(b"probe")


def _make_folder(folder: Path) -> None:
    """Make a folder so that it is there after a crash, too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
