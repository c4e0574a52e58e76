"""Exporting a million candles to Parquet, against pyarrow that writes the same rows, which it has in memory already."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.figure import Figure
from benchmarks.history import made_up_candles, write_candle_history
from benchmarks.rounds import take_rounds
from benchmarks.series import new_candle_series
from benchmarks.setting import Setting
from tapehouse.files.arrow import Rows, Schema, parquet
from tapehouse.files.exporting import SeriesExport, Target, export_series
from tapehouse.files.formats import parquet_settings
from tapehouse.query.reader import Reader
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import CandleSeries

_MOST_ROUNDS: Final = 5


def export_parquet_vs_pyarrow_write(setting: Setting) -> Figure:
    """A file a month, against pyarrow's own settings; its files are twice as long."""
    return _figure(setting, "export_parquet_vs_pyarrow_write", "pyarrow.parquet.write_table(table, path)", _as_it_is)


def export_parquet_vs_same_settings(setting: Setting) -> Figure:
    """The same, against pyarrow with the settings that an export has, which take half the time."""
    baseline = "write_table with the settings of an export"
    return _figure(setting, "export_parquet_vs_same_settings", baseline, parquet_settings)


def _as_it_is(_schema: Schema) -> dict[str, Any]:
    return {}


def _figure(setting: Setting, key: str, baseline: str, settings_of: Callable[[Schema], dict[str, Any]]) -> Figure:
    with setting.emptied_database() as connection, tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as folder:
        series = new_candle_series(connection)
        span = write_candle_history(connection, series, made_up_candles(setting.sizes.read_rows))
        connection.execute("vacuum analyze ohlcv")
        reader = Reader.connect(setting.url)
        try:
            first = _export(reader, series, span, Path(folder) / "first")
            assert first.rows == setting.sizes.read_rows
            tables = [parquet.read_table(one.path, partitioning=None) for one in first.files]
            taken = take_rounds(
                min(setting.sizes.rounds, _MOST_ROUNDS),
                lambda: _export_time_s(reader, series, span),
                lambda: _write_time_s(tables, settings_of(tables[0].schema)),
            )
        finally:
            reader.close()
        row_bytes = sum(one.path.stat().st_size for one in first.files) / first.rows
    note = f"{len(tables)} files, {row_bytes:.1f} bytes a candle"
    return taken.as_cost(key, "ms", scale=1000, baseline=f"{baseline}, the same tables in memory", note=note)


def _export(reader: Reader, series: CandleSeries, span: TimeRange, folder: Path) -> SeriesExport:
    return export_series(reader, series, Target(folder, "parquet", is_file=False), span, progressed=lambda _: None)


def _export_time_s(reader: Reader, series: CandleSeries, span: TimeRange) -> float:
    with tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as folder:
        started_s = time.perf_counter()
        _export(reader, series, span, Path(folder))
        return time.perf_counter() - started_s


def _write_time_s(tables: list[Rows], settings: dict[str, Any]) -> float:
    with tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as folder:
        started_s = time.perf_counter()
        for number, table in enumerate(tables):
            parquet.write_table(table, Path(folder) / f"{number}.parquet", **settings)
        return time.perf_counter() - started_s
