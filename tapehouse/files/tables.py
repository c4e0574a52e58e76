"""Tables in files: the names of their columns and their rows in batches, whatever the format.

What the columns mean is told by `layouts`; cells come as they are, of CSV as text. Memory does not grow with the
file: only a batch of it is held at a time.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Final, cast

from tapehouse.errors import InputError
from tapehouse.files import arrow
from tapehouse.files.arrow import Array, Rows, Schema, pa
from tapehouse.files.checksums import sha256_of
from tapehouse.files.content import Content, look_into, reading
from tapehouse.files.json_values import json_values
from tapehouse.files.label import FileLabel, label_of_arrow, label_of_parquet, read_label_beside

# pandera's cost is by the batch, memory by the row.
BATCH_ROWS: Final = 50_000
_BLOCK_BYTES: Final = 1 << 21
_DELIMITERS: Final = ",;\t|"
# A cell that no name of a column looks like: a number, a time, a truth value.
_VALUE: Final = re.compile(r"\s*([-+.]?\d.*|nan|true|false)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of a table, one after another, and the lines between them that have another number of cells.

    Each of those comes with how many of the rows are before it.
    """

    rows: Rows
    misshapen: Sequence[tuple[int, object]] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A file as a table.

    `names` are those of its columns; where it names none (`is_named`), they are "1", "2"...; `first_row` is
    there then. `label` is what an export of tapehouse says beside its rows. Of CSV it is known what stands between
    cells, and how many lines come before the rows.
    """

    content: Content
    names: tuple[str, ...]
    is_named: bool
    first_row: tuple[str, ...]
    label: FileLabel | None
    delimiter: str = ""
    lines_before: int = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self.content.path

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Batch]:
        """The rows in the order of the file, of those columns alone if any are given; raises InputError."""
        with reading_table(self.path):
            match self.content.form:
                case "Parquet":
                    yield from _parquet_batches(self, columns)
                case "Arrow":
                    yield from _arrow_batches(self, columns)
                case "JSON":
                    yield from _json_batches(self)
                case "CSV":
                    yield from _csv_batches(self, columns)


def open_table(path: Path) -> Table:
    """The file as a table; raises InputError where it is none, or damaged."""
    content = look_into(path)
    with reading_table(path):
        match content.form:
            case "Parquet":
                with arrow.parquet.ParquetFile(path) as file:
                    return _arrow_table(content, file.schema_arrow, label_of_parquet(file))
            case "Arrow":
                with pa.memory_map(str(path)) as source:
                    file = arrow.ipc.open_file(source)
                    return _arrow_table(content, file.schema, label_of_arrow(file))
            case "JSON":
                return _json_table(content)
            case "CSV":
                return _csv_table(content)


@contextmanager
def reading_table(path: Path) -> Generator[None]:
    """Raise InputError where the file, or what was read from it, is damaged."""
    try:
        with reading(path):
            yield
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"{path.name} is damaged, or no table ({reason}): get it again.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not in UTF-8: convert it.") from error


def _arrow_table(content: Content, schema: Schema, label: FileLabel | None) -> Table:
    _require_distinct(content, schema.names)
    return Table(content, tuple(schema.names), True, (), label)


def _parquet_batches(table: Table, columns: Sequence[str] | None) -> Iterator[Batch]:
    with arrow.parquet.ParquetFile(table.path) as file:
        yield _no_rows(file.schema_arrow, columns)
        for rows in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
            rows.validate(full=True)
            yield Batch(rows)


def _arrow_batches(table: Table, columns: Sequence[str] | None) -> Iterator[Batch]:
    wanted = None if columns is None else [table.names.index(name) for name in columns]
    with pa.memory_map(str(table.path)) as source:
        options = arrow.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
        file = arrow.ipc.open_file(source, options=options)
        yield _no_rows(file.schema, columns)
        for number in range(file.num_record_batches):
            rows = file.get_batch(number)
            rows.validate(full=True)
            for start in range(0, len(rows), BATCH_ROWS):
                yield Batch(rows.slice(start, BATCH_ROWS))


def _no_rows(schema: Schema, columns: Sequence[str] | None) -> Batch:
    """A first batch, since a file without rows has none, though its label tells what that means."""
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    return Batch(pa.RecordBatch.from_pylist([], schema=wanted))


def _csv_table(content: Content) -> Table:
    lines = io.StringIO(content.head.decode("utf-8-sig", errors="ignore"))
    skipped, first_line = next(((number, line) for number, line in enumerate(lines) if line.strip()), (0, ""))
    delimiter = max(_DELIMITERS, key=first_line.count)
    cells = tuple(next(csv.reader([first_line], delimiter=delimiter), list[str]()))
    # pandas gives the column of its index no name.
    filled = [cell for cell in cells if cell.strip()]
    is_named = bool(filled) and not any(_VALUE.fullmatch(cell) for cell in filled)
    label = read_label_beside(content.path, sha256=sha256_of(content.path)) if is_named else None
    if is_named:
        _require_distinct(content, cells)
    names = cells if is_named else _numbered(len(cells))
    first_row = () if is_named else cells
    return Table(content, names, is_named, first_row, label, delimiter, skipped + is_named)


def _csv_batches(table: Table, columns: Sequence[str] | None) -> Iterator[Batch]:
    # By their numbers: the reader is a block ahead of the rows that it hands out.
    misshapen: deque[tuple[int, object]] = deque()

    def keep(line: Rows) -> str:
        misshapen.append((line.number, line.text))
        return "skip"

    with table.content.open() as file:
        reader = arrow.csv.open_csv(
            file,
            read_options=arrow.csv.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, column_names=table.names, skip_rows=table.lines_before
            ),
            parse_options=arrow.csv.ParseOptions(delimiter=table.delimiter, invalid_row_handler=keep),
            convert_options=arrow.csv.ConvertOptions(
                column_types=dict.fromkeys(table.names, pa.string()),
                include_columns=columns,
                strings_can_be_null=False,
            ),
        )
        number = table.lines_before + 1
        for rows in reader:
            for start in range(0, max(1, len(rows)), BATCH_ROWS):
                some = rows.slice(start, BATCH_ROWS)
                lost = list(_passed(misshapen, number, len(some)))
                number += len(some) + len(lost)
                yield Batch(some, lost)
        if misshapen:
            yield Batch(pa.RecordBatch.from_pylist([], schema=reader.schema), [(0, line) for _, line in misshapen])


def _passed(misshapen: deque[tuple[int, object]], number: int, rows: int) -> Iterator[tuple[int, object]]:
    """Take the misshapen lines before the last of so many rows, and say before which; `number` is the first line's.

    Where there are no rows, those are taken that follow each other.
    """
    taken = 0
    while misshapen and (before := misshapen[0][0] - number - taken) < max(1, rows):
        yield before, misshapen.popleft()[1]
        taken += 1


def _json_table(content: Content) -> Table:
    with content.open() as file:
        values = list(islice(json_values(file, content.path.name), BATCH_ROWS))
    first = values[0] if values else None
    if isinstance(first, dict):
        return Table(content, _keys(values), True, (), None)
    if isinstance(first, list):
        cells = tuple(str(cell) for cell in cast("list[object]", first))
        return Table(content, _numbered(len(cells)), False, cells, None)
    raise InputError(f"{content.path.name} holds no rows: a list of objects, or of lists, is expected.")


def _keys(values: Sequence[object]) -> tuple[str, ...]:
    """The keys of all objects among the values, in the order in which they come first."""
    objects = (cast("dict[str, object]", value) for value in values if isinstance(value, dict))
    return tuple(dict.fromkeys(chain.from_iterable(objects)))


def _json_batches(table: Table) -> Iterator[Batch]:
    rows: list[Sequence[object]] = []
    misshapen: list[tuple[int, object]] = []
    with table.content.open() as file:
        for value in json_values(file, table.path.name):
            row = _json_row(table, value)
            if row is None:
                misshapen.append((len(rows), value))
            else:
                rows.append(row)
            if len(rows) + len(misshapen) == BATCH_ROWS:
                yield Batch(_json_columns(table, rows), misshapen)
                rows, misshapen = [], []
    if rows or misshapen:
        yield Batch(_json_columns(table, rows), misshapen)


def _json_row(table: Table, value: object) -> Sequence[object] | None:
    if table.is_named:
        return list(map(cast("dict[str, object]", value).get, table.names)) if isinstance(value, dict) else None
    row = cast("list[object]", value)
    return row if isinstance(value, list) and len(row) == len(table.names) else None


def _json_columns(table: Table, rows: Sequence[Sequence[object]]) -> Rows:
    columns = zip(*rows, strict=True) if rows else [()] * len(table.names)
    return pa.RecordBatch.from_arrays([_json_column(list(cells)) for cells in columns], names=list(table.names))


def _json_column(cells: list[object]) -> Array:
    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError):
        return pa.array([cell if cell is None else _text(cell) for cell in cells], pa.string())


def _text(cell: object) -> str:
    # JSON can have halves of characters, which Arrow can't.
    return str(cell).encode("utf-8", "replace").decode()


def _require_distinct(content: Content, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise InputError(f"{content.path.name} names two of its columns alike: rename one.")


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))
