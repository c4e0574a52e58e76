"""Exports: stored rows of a series into files, as they were fetched; nothing is resampled or filled.

All of a file comes from one snapshot of the database. What a file holds beside its rows is `label`, where it lies
`places`, how it is written `formats`.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from tapehouse.errors import InputError
from tapehouse.files.arrow import Rows
from tapehouse.files.background import BackgroundWriter, writing
from tapehouse.files.columns import Piece
from tapehouse.files.formats import Format, begin_draft, label_in, rows_in
from tapehouse.files.former import former_rows, with_former
from tapehouse.files.label import FileLabel
from tapehouse.files.owned import require_own
from tapehouse.files.places import flat_file, partition_folder, partitions
from tapehouse.files.stored import Holding, OpenRange, read_holding, stream_rows, timeframe_of
from tapehouse.query.decode import CopyDecoder
from tapehouse.query.reader import Reader
from tapehouse.ranges import TimeRange, intersect_ranges, merge_ranges, subtract_ranges
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries, TradeSeries
from tapehouse.timeframe import from_us

Status = Literal["written", "unchanged", "kept"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the export of a series is: the rows read, up to which time, and the share of the time that is."""

    rows: int
    reached: datetime
    share: float


Progress = Callable[[Standing], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where an export goes: a folder, for any number of series, or one file for one series."""

    path: Path
    form: Format
    is_file: bool


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file and what it holds.

    It was `written`, or is `unchanged` as it held these rows already, or was `kept` as nothing of its time is stored
    any more. `lost` is what the file knows and the database does not: from the Parquet files of a folder an export
    takes nothing that retention has dropped since, or someone has deleted.
    """

    path: Path
    status: Status
    rows: int
    label: FileLabel
    lost: tuple[TimeRange, ...] = ()


@dataclass(frozen=True, slots=True)
class SeriesExport:
    """What was exported of a series; no file where nothing of it was fetched in the time asked for."""

    series: CandleSeries | TradeSeries
    files: tuple[ExportedFile, ...]
    dropped_before: datetime | None

    @property
    def rows(self) -> int:
        """The rows in all files."""
        return sum(one.rows for one in self.files)

    @property
    def covered(self) -> list[TimeRange]:
        """What the files know of."""
        return merge_ranges(chain.from_iterable(one.label.covered for one in self.files))

    @property
    def span(self) -> TimeRange | None:
        """From when to when anything is known."""
        covered = self.covered
        return (covered[0][0], covered[-1][1]) if covered else None

    @property
    def gaps(self) -> list[TimeRange]:
        """What lies between and is not known."""
        return subtract_ranges([self.span], self.covered) if self.span else []


def export_series(
    reader: Reader, series: CandleSeries | TradeSeries, target: Target, asked: OpenRange, *, progressed: Progress
) -> SeriesExport:
    """Export what is stored of the series in the time asked for.

    In a folder Parquet is split by month, year or day (see `places`): a file there that was exported before keeps
    the rest of its time. Feather and CSV are one file a series, of exactly the time asked for. Raises InputError
    where a file can't be written, is not tapehouse's or can't hold the rows, and StoreError.
    """
    whole = reader.read(partial(read_holding, series=series, asked=asked))
    files = _export_files(reader, series, target, whole.label, asked, progressed) if whole.label else []
    files += _left_alone(series, target, asked, {one.path for one in files})
    return SeriesExport(series, tuple(sorted(files, key=lambda one: one.label.start)), whole.dropped_before)


def _export_files(
    reader: Reader,
    series: CandleSeries | TradeSeries,
    target: Target,
    label: FileLabel,
    asked: OpenRange,
    progressed: Progress,
) -> list[ExportedFile]:
    """Export each file that holds some of what the label says is stored."""
    with BackgroundWriter() as writer:
        export = _SeriesExporter(reader, series, target, writer, (label.start, label.end), progressed)
        files = [export.file(path, window) for path, window in _places(series, target, label, asked)]
    return [one for one in files if one]


def _left_alone(
    series: CandleSeries | TradeSeries, target: Target, asked: OpenRange, exported: Container[Path]
) -> Iterator[ExportedFile]:
    """The files in the folder of time asked for of which nothing is stored any more."""
    if target.is_file or target.form != "parquet":
        return
    start, end = asked
    for path in partition_folder(target.path, series, timeframe_of(series)).glob("[!.]*.parquet"):
        label = None if path in exported else label_in("parquet", path)
        if label and (lost := intersect_ranges(label.covered, [(start, end or label.end)])):
            yield ExportedFile(path, "kept", rows_in("parquet", path), label, tuple(lost))


def _places(
    series: CandleSeries | TradeSeries, target: Target, label: FileLabel, asked: OpenRange
) -> Iterable[tuple[Path, OpenRange]]:
    """Each file with the time that it is to hold."""
    timeframe = timeframe_of(series)
    if target.is_file:
        return [(target.path, asked)]
    if target.form != "parquet":
        return [(flat_file(target.path, series, timeframe, target.form), asked)]
    folder = partition_folder(target.path, series, timeframe)
    return (
        (path, _grown(label_in("parquet", path), window, span))
        for name, span in partitions(timeframe, (label.start, label.end))
        for window in intersect_ranges([span], [(label.start, label.end)])
        if intersect_ranges([span], label.covered)
        for path in [folder / f"{name}.parquet"]
    )


def _grown(old: FileLabel | None, window: TimeRange, span: TimeRange) -> TimeRange:
    """The window, and what the file held before of its own time."""
    if old is None:
        return window
    return max(min(old.start, window[0]), span[0]), min(max(old.end, window[1]), span[1])


@dataclass(slots=True)
class _SeriesExporter:
    """Exports the files of a series one after the other and tells how far it is."""

    reader: Reader
    series: CandleSeries | TradeSeries
    target: Target
    writer: BackgroundWriter
    span: TimeRange
    progressed: Progress
    rows: int = 0

    def file(self, path: Path, window: OpenRange) -> ExportedFile | None:
        """Export one file; None where what it was to hold has been deleted meanwhile."""
        old = label_in(self.target.form, path)
        if path.is_file():
            require_own(path, old, self.series, is_file=self.target.is_file)
        return self.reader.read(lambda connection: self._file(connection, path, window, old))

    def _file(
        self, connection: Connection, path: Path, window: OpenRange, old: FileLabel | None
    ) -> ExportedFile | None:
        holding = read_holding(connection, self.series, window)
        if holding.label is None:
            return None
        label, lost = holding.label, self._lost(path, old, holding.label)
        if old and lost:
            label = with_former(label, old, lost)
        if old and old.has_rows_of(label):
            return ExportedFile(path, "unchanged", rows_in(self.target.form, path), old, lost)
        return ExportedFile(path, "written", self._write(connection, path, holding, label, lost), label, lost)

    def _lost(self, path: Path, old: FileLabel | None, label: FileLabel) -> tuple[TimeRange, ...]:
        """What the file, one of a folder of Parquet, knows and the database does not."""
        if old is None or self.target.form != "parquet" or self.target.is_file:
            return ()
        lost = subtract_ranges(old.covered, label.covered)
        if lost and not old.can_join(label):
            raise InputError(
                f"{path} knows more than the database, which is another one or counts amounts in other units: "
                "export to another folder."
            )
        return tuple(lost)

    def _write(
        self, connection: Connection, path: Path, holding: Holding, label: FileLabel, lost: Sequence[TimeRange]
    ) -> int:
        has_texts = bool(holding.id_bytes)
        with writing(path):
            draft = begin_draft(self.target.form, path, label, has_texts=has_texts)
        self.writer.begin(draft)
        rows = 0

        def add(piece: Piece | Rows, count: int, reached: datetime) -> None:
            nonlocal rows
            self.writer.write(draft, piece)
            rows += count
            self._tell(count, reached)

        def hand_over(decoder: CopyDecoder) -> None:
            piece = Piece.of(decoder, label, has_texts=has_texts)
            add(piece, len(piece.time_us), from_us(int(piece.time_us[-1])))

        try:
            former = set(lost)
            for span in sorted([*lost, *subtract_ranges([(label.start, label.end)], lost)]):
                if span in former:
                    for table in former_rows(path, span):
                        add(table, len(table), span[1])
                else:
                    stream_rows(connection, self.series, span, hand_over, id_bytes=holding.id_bytes)
        except BaseException:
            self.writer.discard(draft)
            raise
        self.writer.finish(draft)
        return rows

    def _tell(self, count: int, reached: datetime) -> None:
        self.rows += count
        start, end = self.span
        self.progressed(Standing(self.rows, reached, (reached - start) / (end - start)))
