"""Parcels on disk that could not be written yet, in the order in which they came.

A file is one process', which locks it; what a process that is gone has left is taken over by the next one that
streams the same exchange into the same database. A parcel that was written and is read again changes nothing.
"""

import fcntl
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, TypeAlias, cast
from uuid import uuid4

from tapehouse.book import BookSample
from tapehouse.errors import ServiceError
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import BookSeries
from tapehouse.stream.parcel import Parcel, StreamedSeries
from tapehouse.timeframe import from_us, to_us

_TIMES: Final = ("received_at", "exchange_at")

# The series of an exchange's symbol, dataset and timeframe; None where the database has no such symbol.
FindSeries = Callable[[str, str, str | None], StreamedSeries | None]
_Key: TypeAlias = tuple[str, str, str | None]

_logger = logging.getLogger(__name__)


class Spill:
    """The parcels of one process that wait on disk, those that others have left first."""

    def __init__(self, folder: Path, exchange_id: str, find_series: FindSeries) -> None:
        self._find_series = find_series
        self._series: dict[_Key, StreamedSeries | None] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            left = sorted(folder.glob(f"{exchange_id}-*.jsonl"), key=lambda path: path.stat().st_mtime)
            taken = [file for path in left if (file := _File.take_over(path)) is not None]
            self._files = [file for file in taken if self._is_ours(file)]
            self._own = _File.take_over(folder / f"{exchange_id}-{uuid4().hex[:12]}.jsonl")
        except OSError as error:
            raise ServiceError(f"Nothing can be kept in {folder} ({error.strerror}): choose another folder.") from error
        assert self._own is not None
        self._files.append(self._own)

    @property
    def rows(self) -> int:
        """How many rows wait."""
        return sum(file.rows for file in self._files)

    def append(self, parcel: Parcel) -> None:
        """Keep a parcel; raises ServiceError where the disk takes no more."""
        assert self._own is not None
        try:
            self._own.append(_encoded(parcel), len(parcel.rows))
            self._series[_key(parcel.series)] = parcel.series
        except OSError as error:
            raise ServiceError(
                f"{self._own.path} can't be written ({error.strerror}): make room, then start the stream again. "
                "What it misses until then is fetched where the exchange still has it."
            ) from error

    def first(self) -> Parcel | None:
        """The parcel that has waited longest, again and again until it is dropped; None if there is none."""
        for file in self._files:
            while (line := file.first()) is not None:
                if (parcel := self._decoded(line, file.path)) is not None:
                    return parcel
                file.drop()
        return None

    def drop(self) -> None:
        """Forget the parcel that has waited longest: it is written."""
        next(file for file in self._files if not file.is_read).drop()

    def close(self) -> None:
        """Let go of the files; those in which nothing waits are removed."""
        for file in self._files:
            file.close()

    def _is_ours(self, file: "_File") -> bool:
        """Whether a process on this database has left it; that of another one waits for who streams into that."""
        line = file.first()
        told = None if line is None else _told(line)
        if told is None or self._series_of(told) is not None:
            return True
        _logger.warning("%s waits for another database, and is left as it is.", file.path)
        file.close()
        return False

    def _decoded(self, line: str, path: Path) -> Parcel | None:
        if (told := _told(line)) is None:
            _logger.warning("A line of %s is cut off, as by a crash, and was left out.", path)
            return None
        if (series := self._series_of(told)) is None:
            _logger.warning("%s holds %s that this database has no more, and was left out.", path, told["symbol"])
            return None
        return _parcel(told, series)

    def _series_of(self, told: dict[str, Any]) -> StreamedSeries | None:
        """The series of a parcel, looked up once; numbers alone are the same in many databases."""
        key = told["symbol"], told["dataset"], told["timeframe"]
        if key not in self._series:
            self._series[key] = self._find_series(*key)
        series = self._series[key]
        return series if series is not None and _identity(series) == told["of"] else None


class _File:
    """One file of parcels, a line each; it is emptied when all of them were dropped."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self.rows = sum(map(_rows_in, file))
        self._file = file
        self._read_at = 0
        self._next: tuple[str, int] | None = None
        self._size = file.seek(0, 2)

    @classmethod
    def take_over(cls, path: Path) -> "_File | None":
        """The file, made if it is not there; None where another process has it."""
        file = path.open("a+", encoding="utf-8")
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return cls(path, file)

    @property
    def is_read(self) -> bool:
        return self._read_at >= self._size

    def append(self, line: str, rows: int) -> None:
        self._file.seek(0, 2)
        self._file.write(f"{rows} {line}\n")
        self._file.flush()
        self._size = self._file.tell()
        self.rows += rows

    def first(self) -> str | None:
        if self._next is None and not self.is_read:
            self._file.seek(self._read_at)
            self._next = self._file.readline(), self._file.tell()
        return self._next[0] if self._next else None

    def drop(self) -> None:
        assert self._next is not None
        self.rows -= _rows_in(self._next[0])
        self._read_at, self._next = self._next[1], None
        if self.is_read:
            self._file.truncate(0)
            self._read_at = self._size = 0

    def close(self) -> None:
        # What a full disk did not take was said when that was to be kept.
        with suppress(OSError):
            if self.is_read:
                self.path.unlink()
        with suppress(OSError):
            self._file.close()


def _key(series: StreamedSeries) -> _Key:
    return series.instrument.symbol, series.dataset, series.timeframe_name


def _identity(series: StreamedSeries) -> list[int]:
    """What no two databases have in common: the series' number, and when its instrument was seen first."""
    return [series.series_id, to_us(series.instrument.first_seen_at)]


def _told(line: str) -> dict[str, Any] | None:
    """What a line holds, None where it is cut off."""
    try:
        return json.loads(line.partition(" ")[2])
    except ValueError:
        return None


def _rows_in(line: str) -> int:
    """The number that a line begins with; none where it is cut off."""
    count = line.partition(" ")[0]
    return int(count) if count.isdecimal() else 0


def _encoded(parcel: Parcel) -> str:
    return json.dumps(
        {
            "symbol": parcel.series.instrument.symbol,
            "dataset": parcel.series.dataset,
            "timeframe": parcel.series.timeframe_name,
            "of": _identity(parcel.series),
            "windows": _in_us(parcel.windows),
            "unproven": _in_us(parcel.unproven),
            "rows": list(_encoded_rows(parcel)),
        },
        default=str,
        separators=(",", ":"),
    )


def _in_us(windows: Sequence[TimeRange]) -> list[tuple[int, int]]:
    return [(to_us(start), to_us(end)) for start, end in windows]


def _encoded_rows(parcel: Parcel) -> Iterator[object]:
    for row in parcel.rows:
        if isinstance(row, BookSample):
            yield {name: to_us(value) if isinstance(value, datetime) else value for name, value in asdict(row).items()}
        else:
            yield row


def _parcel(told: dict[str, Any], series: StreamedSeries) -> Parcel:
    windows, unproven = (
        [(from_us(start_us), from_us(end_us)) for start_us, end_us in told[name]] for name in ("windows", "unproven")
    )
    decode = _sample if isinstance(series, BookSeries) else _row
    return Parcel(series, [decode(row) for row in told["rows"]], windows, 0.0, unproven)


def _row(row: object) -> object:
    return tuple(cast("list[object]", row)) if isinstance(row, list) else row


def _sample(row: dict[str, Any]) -> BookSample:
    times: dict[str, Any] = {name: from_us(row[name]) for name in _TIMES}
    return BookSample(**{**row, **times})
