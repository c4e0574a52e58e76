"""Archiving a million candles, against an export of the same rows, which compares nothing with the database."""

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks.figure import Figure
from benchmarks.history import made_up_candles, write_candle_history
from benchmarks.rounds import take_rounds, time_s
from benchmarks.series import new_candle_series
from benchmarks.setting import Setting
from tapehouse.archive.archiving import archive_due
from tapehouse.files.exporting import Target, export_series
from tapehouse.query.reader import Reader
from tapehouse.ranges import TimeRange
from tapehouse.store.archive import switch_archiving
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries

# So old that all of a million minutes is to be dropped.
_START: Final = datetime.fromisoformat("2021-01-01T00:00+00:00")
_MOST_ROUNDS: Final = 5


def archive_rows_per_s(setting: Setting) -> Figure:
    """A file a chunk, each read back and compared, against a file a month that is only written."""
    with setting.emptied_database() as connection:
        series = new_candle_series(connection)
        span = write_candle_history(connection, series, made_up_candles(setting.sizes.read_rows, start=_START))
        connection.execute("vacuum analyze ohlcv")
        switch_archiving(connection, on=["ohlcv"])
        reader = Reader.connect(setting.url)
        try:
            taken = take_rounds(
                min(setting.sizes.rounds, _MOST_ROUNDS),
                lambda: _in_new_folder(lambda folder: _archive(connection, folder, setting.sizes.read_rows)),
                lambda: _in_new_folder(lambda folder: _export(reader, series, span, folder)),
            )
        finally:
            reader.close()
            switch_archiving(connection, off=["ohlcv"])
    return taken.as_rate(
        "archive_rows_per_s", "rows/s", setting.sizes.read_rows, baseline="export_series of the same rows to Parquet"
    )


def _archive(connection: Connection, folder: Path, rows: int) -> None:
    connection.execute("delete from archive")
    assert sum(one.rows for one in archive_due(connection, folder) if one.status == "archived") == rows


def _export(reader: Reader, series: CandleSeries, span: TimeRange, folder: Path) -> None:
    export_series(reader, series, Target(folder, "parquet", is_file=False), span, progressed=lambda _: None)


def _in_new_folder(work: Callable[[Path], None]) -> float:
    with tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as folder:
        return time_s(lambda: work(Path(folder)))
