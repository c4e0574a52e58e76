"""Reading a million candles into a DataFrame, against a COPY of the same rows that nobody looks at."""

import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import psycopg
from psycopg.pq import ExecStatus

from benchmarks.figure import Figure
from benchmarks.history import made_up_candles, new_series, write_history
from benchmarks.rounds import take_rounds
from benchmarks.setting import Setting
from tapehouse import MarketData
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection, is_embedded
from tapehouse.store.instruments import Series

# The embedded database builds a whole answer in memory, so `MarketData` reads in such portions there.
_EMBEDDED_PORTION: Final = timedelta(minutes=100_000)


def read_1m_rows_vs_psql_copy(setting: Setting) -> Figure:
    """Rows that are not compressed."""
    return _read(setting, "read_1m_rows_vs_psql_copy", compressed=False)


def read_1m_compressed_rows_vs_psql_copy(setting: Setting) -> Figure:
    """Rows of compressed chunks."""
    return _read(setting, "read_1m_compressed_rows_vs_psql_copy", compressed=True)


def _read(setting: Setting, key: str, *, compressed: bool) -> Figure:
    with setting.emptied_database() as connection, MarketData.connect(setting.url) as market:
        series = new_series(connection)
        span = write_history(connection, series, made_up_candles(setting.sizes.read_candles))
        if compressed:
            connection.execute("select compress_chunk(chunk) from show_chunks('ohlcv') as chunk")
        connection.execute("vacuum analyze ohlcv")
        statements = _statements(connection, series, span)
        baseline, name = _baseline(connection, setting, statements)
        rounds = take_rounds(
            setting.sizes.rounds,
            lambda: _read_time_s(market, series, span, expected=setting.sizes.read_candles),
            baseline,
        )
    if len(statements) > 1:
        name += f", in {len(statements)} portions"
    return rounds.as_cost(key, "ms", scale=1000, baseline=name)


def _read_time_s(market: MarketData, series: Series, span: TimeRange, *, expected: int) -> float:
    started_s = time.perf_counter()
    frame = market.candles(series.instrument.exchange, series.instrument.symbol, "1m", *span)
    taken_s = time.perf_counter() - started_s
    assert len(frame) == expected
    return taken_s


def _statements(connection: Connection, series: Series, span: TimeRange) -> list[str]:
    """COPY statements for the rows, in order of time."""
    start, end = span
    length = _EMBEDDED_PORTION if is_embedded(connection) else end - start
    statements: list[str] = []
    while start < end:
        statements.append(
            "copy (select time, open, high, low, close, volume from ohlcv "
            f"where instrument_id = {series.instrument.instrument_id} and timeframe_s = 60 "
            f"and time >= '{start.isoformat()}' and time < '{min(start + length, end).isoformat()}' "
            "order by time) to stdout (format binary)"
        )
        start += length
    return statements


def _baseline(connection: Connection, setting: Setting, statements: list[str]) -> tuple[Callable[[], float], str]:
    if setting.psql is None:
        return lambda: _libpq_time_s(connection, statements), "COPY TO STDOUT (FORMAT binary), a libpq loop"
    psql = setting.psql
    return lambda: _psql_time_s(psql, setting.url, statements), "COPY TO STDOUT (FORMAT binary), psql to /dev/null"


def _psql_time_s(psql: str, url: str, statements: list[str]) -> float:
    """What psql takes for the statements, its start and connecting taken off."""
    return _run_psql_s(psql, url, statements) - _run_psql_s(psql, url, ["select 1"])


def _run_psql_s(psql: str, url: str, statements: list[str]) -> float:
    commands = [part for statement in statements for part in ("-c", statement)]
    started_s = time.perf_counter()
    subprocess.run([psql, "-X", "-q", *commands, url], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started_s


def _libpq_time_s(connection: Connection, statements: list[str]) -> float:
    pgconn = connection.pgconn
    started_s = time.perf_counter()
    for statement in statements:
        _expect(pgconn.exec_(statement.encode()).status, ExecStatus.COPY_OUT)
        while pgconn.get_copy_data(0)[0] > 0:
            pass
        while (result := pgconn.get_result()) is not None:
            _expect(result.status, ExecStatus.COMMAND_OK)
    return time.perf_counter() - started_s


def _expect(status: int, expected: ExecStatus) -> None:
    if status != expected:
        raise psycopg.OperationalError(f"The server answered COPY with {ExecStatus(status).name}.")
