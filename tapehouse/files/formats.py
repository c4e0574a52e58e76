"""Formats of exported files: how tables are written into one, and what one that lies there says of itself.

A file is written under another name in the same folder and renamed when it is complete, so that it is never seen
half-written. What is in the tables is `columns`.
"""

import glob
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from uuid import uuid4

from tapehouse.errors import InputError
from tapehouse.files.arrow import Rows, Schema, csv, ipc, pa, parquet
from tapehouse.files.checksums import sha256_of
from tapehouse.files.columns import Columns, FreqtradeColumns, Piece
from tapehouse.files.label import (
    BESIDE_SUFFIX,
    FileLabel,
    label_beside,
    label_of_arrow,
    label_of_parquet,
    read_label_beside,
    rows_of_arrow,
    rows_told,
)
from tapehouse.files.lines import header, lines_of

Format = Literal["parquet", "feather", "csv"]

# Of candles recorded and made up these take 15 to 16 bytes a row and 0.5 s a million rows; pyarrow's own settings 31
# to 36 bytes and 0.9 to 1.6 s. Prices are decimals, so their float64 repeat patterns of bytes that zstd finds in plain
# values and neither a dictionary nor a split by bytes leaves to it; steps of time are all the same.
PARQUET_SETTINGS: Final[dict[str, Any]] = {"compression": "zstd", "compression_level": 1}
_STEPPED: Final = ("time", "trade_id")
# A file that is being written changes every few seconds.
_ABANDONED_AFTER_S: Final = 3600.0
_WORDS: Final = ["side", "source"]


class Draft(Protocol):
    """A file that is being written."""

    @property
    def path(self) -> Path:
        """What its name is going to be."""
        ...

    def write(self, piece: Piece | Rows) -> None:
        """Add rows; the piece must not be used afterwards. Parquet also takes rows of another file of its layout."""
        ...

    def finish(self) -> None:
        """Give the file, which is complete, its name."""
        ...

    def discard(self) -> None:
        """Leave nothing of it."""
        ...


def begin_draft(form: Format, path: Path, label: FileLabel, *, has_texts: bool) -> Draft:
    """Begin to write a file with that label; `has_texts` says that ids of trades are texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    match form:
        case "parquet":
            return _ParquetDraft(path, Columns(label, has_texts=has_texts))
        case "feather":
            return _FeatherDraft(path, FreqtradeColumns(label, has_texts=has_texts))
        case "csv":
            return _CsvDraft(path, Columns(label, has_texts=has_texts), label)


def parquet_settings(schema: Schema) -> dict[str, Any]:
    """How rows of that schema are written to Parquet, as pyarrow's writer takes it."""
    stepped = [name for name in _STEPPED if name in schema.names and not pa.types.is_string(schema.field(name).type)]
    return {
        **PARQUET_SETTINGS,
        "use_dictionary": [name for name in _WORDS if name in schema.names],
        "column_encoding": dict.fromkeys(stepped, "DELTA_BINARY_PACKED"),
    }


def label_in(form: Format, path: Path) -> FileLabel | None:
    """The label of a file that lies there; None where there is no file, or one that tapehouse did not export."""
    if not path.is_file():
        return None
    try:
        match form:
            case "parquet":
                with parquet.ParquetFile(path) as file:
                    return label_of_parquet(file)
            case "feather":
                with pa.memory_map(os.fspath(path)) as file:
                    return label_of_arrow(ipc.open_file(file))
            case "csv":
                return _label_of_csv(path)
    # Of some broken files pyarrow raises OSError.
    except (pa.ArrowException, OSError, InputError):
        return None


def rows_in(form: Format, path: Path) -> int:
    """How many rows an exported file has."""
    match form:
        case "parquet":
            return parquet.read_metadata(path).num_rows
        case "feather":
            with pa.memory_map(os.fspath(path)) as file:
                return rows_of_arrow(ipc.open_file(file))
        case "csv":
            # A line is not always a row: ids may hold line breaks.
            whole, only_time = csv.ParseOptions(newlines_in_values=True), csv.ConvertOptions(include_columns=["time"])
            with csv.open_csv(path, parse_options=whole, convert_options=only_time) as batches:
                return sum(batch.num_rows for batch in batches)


def _label_of_csv(path: Path) -> FileLabel | None:
    """The label beside the file, put there first if its export was killed between giving the two their names."""
    sha256, beside = sha256_of(path), path.with_name(path.name + BESIDE_SUFFIX)
    for part in _parts(beside):
        # What was cut short is of a file that was not finished either.
        with suppress(OSError, ValueError):
            if json.loads(part.read_bytes())["sha256"] == sha256:
                part.replace(beside)
    return read_label_beside(path, sha256=sha256)


def _parts(path: Path) -> Iterator[Path]:
    """What there is under names for the time being, of this and of other exports of the same file."""
    return path.parent.glob(f".{glob.escape(path.name)}.*.part")


def _remove_abandoned(path: Path) -> None:
    """Remove what exports of the same file left that were killed; other ones may run on another machine."""
    for part in _parts(path):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED_AFTER_S:
                part.unlink()


@dataclass(frozen=True, slots=True)
class _Part:
    """A file under its name for the time being, which no other export gives to its own."""

    path: Path
    key: str = field(default_factory=lambda: uuid4().hex)

    @property
    def name(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{self.key}.part")

    def keep(self) -> None:
        # The file in whose place it comes may be the only one with some of its rows.
        if self.path.exists():
            with self.name.open("rb") as file:
                os.fsync(file.fileno())
        self.name.replace(self.path)

    def drop(self) -> None:
        with suppress(OSError):
            self.name.unlink()


class _ParquetDraft:
    """Each piece is a row group."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._part = _Part(path)
        self._columns = columns
        self._writer: Any = parquet.ParquetWriter(self._part.name, columns.schema, **parquet_settings(columns.schema))
        self._rows = 0

    def write(self, piece: Piece | Rows) -> None:
        rows = self._columns.table(piece) if isinstance(piece, Piece) else piece.cast(self._columns.schema)
        self._writer.write_table(rows)
        self._rows += len(rows)

    def finish(self) -> None:
        self._writer.add_key_value_metadata(rows_told(self._rows))
        self._writer.close()
        self._part.keep()

    def discard(self) -> None:
        with suppress(OSError):
            self._writer.close()
        self._part.drop()


class _FeatherDraft:
    """Feather is Arrow's IPC file; each piece is a batch of its own."""

    def __init__(self, path: Path, columns: FreqtradeColumns) -> None:
        self.path = path
        self._part = _Part(path)
        self._columns = columns
        options = ipc.IpcWriteOptions(compression="lz4")
        self._file = self._part.name.open("wb")
        self._writer: Any = ipc.new_file(self._file, columns.schema, options=options)
        self._rows = 0

    def write(self, piece: Piece | Rows) -> None:
        rows = self._columns.table(piece)
        self._writer.write_table(rows)
        self._rows += len(rows)

    def finish(self) -> None:
        # Arrow's files have room for it at their batches alone.
        none = pa.RecordBatch.from_arrays(
            [pa.nulls(0, one.type) for one in self._columns.schema], schema=self._columns.schema
        )
        self._writer.write_batch(none, custom_metadata=rows_told(self._rows))
        self._writer.close()
        self._file.close()
        self._part.keep()

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._part.drop()


class _CsvDraft:
    """CSV has no room for a label, so that lies beside it, with the CSV's digest: it says nothing of other content."""

    def __init__(self, path: Path, columns: Columns, label: FileLabel) -> None:
        self.path = path
        self._part = _Part(path)
        self._beside = _Part(path.with_name(path.name + BESIDE_SUFFIX))
        self._columns = columns
        self._label = label
        self._digest = hashlib.sha256()
        self._file = self._part.name.open("wb")
        self._add(header(columns.schema.names))

    def write(self, piece: Piece | Rows) -> None:
        # Candles open at whole seconds.
        precision = "s" if self._label.dataset == "ohlcv" else "us"
        self._add(lines_of(self._columns.table(piece), precision=precision))

    def finish(self) -> None:
        self._file.close()
        text = label_beside(self._label, sha256=self._digest.hexdigest())
        self._beside.name.write_text(text, encoding="utf-8")
        self._part.keep()
        self._beside.keep()

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._part.drop()
        self._beside.drop()

    def _add(self, text: bytes | memoryview) -> None:
        self._digest.update(text)
        self._file.write(text)
