"""Importing a Parquet file of candles, with all that is checked and kept account of, against a bare COPY of its rows.

The baseline's rows are ready in memory; the import reads its file twice, first to understand it.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.figure import Figure
from benchmarks.history import in_batches, made_up_candles
from benchmarks.plain_writes import copy_time_s, insert_time_s
from benchmarks.rounds import take_rounds
from benchmarks.series import new_candle_series
from benchmarks.setting import Setting
from benchmarks.writing import COPY, CREATE_TABLE, INSERT, columns_of, key_of
from tapehouse.candle import VALUE_COLUMNS, CandleBatch
from tapehouse.files.arrow import pa, parquet
from tapehouse.files.importing import import_file
from tapehouse.files.tables import BATCH_ROWS
from tapehouse.files.understanding import Options, understand
from tapehouse.store.connection import Connection, is_embedded
from tapehouse.store.instruments import CandleSeries

# A file of half a year of 1m candles, at the sizes of a full run.
_WRITTEN_TIMES: Final = 5


def import_parquet_rows_per_s_vs_copy(setting: Setting) -> Figure:
    """A file of 1m candles that are new to the store."""
    rows = _WRITTEN_TIMES * setting.sizes.written_rows
    candles = made_up_candles(rows)
    columns = [columns_of(batch) for batch in in_batches(candles, BATCH_ROWS)]
    with TemporaryDirectory() as folder, setting.emptied_database() as connection:
        path = Path(folder) / "candles.parquet"
        _write_parquet(candles, path)
        connection.execute(CREATE_TABLE)
        # Each round writes as a new instrument, the same one both ways.
        measured = [new_candle_series(connection) for _ in range(setting.sizes.rounds + 1)]
        plain = [key_of(series) for series in measured]
        if is_embedded(connection):
            name, write_plain, statement = "insert ... select unnest", insert_time_s, INSERT
        else:
            name, write_plain, statement = "COPY FROM STDIN (FORMAT binary)", copy_time_s, COPY
        rounds = take_rounds(
            setting.sizes.rounds,
            lambda: _import_time_s(connection, measured.pop(0), path),
            lambda: write_plain(connection, statement, plain.pop(0), columns),
        )
    return rounds.as_rate("import_parquet_rows_per_s_vs_copy", "krows/s", rows / 1000, baseline=name)


def _write_parquet(candles: CandleBatch, path: Path) -> None:
    columns: dict[str, Any] = {name: getattr(candles, name) for name in VALUE_COLUMNS}
    parquet.write_table(pa.table({"time": pa.array(candles.time_us, pa.timestamp("us", "UTC")), **columns}), path)


def _import_time_s(connection: Connection, series: CandleSeries, path: Path) -> float:
    told = Options(exchange=series.instrument.exchange, symbol=series.instrument.symbol)
    started_s = time.perf_counter()
    import_file(connection, understand(path, told, known_symbols=lambda _: ()), force=True)
    return time.perf_counter() - started_s
