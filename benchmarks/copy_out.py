"""What a COPY out takes when nobody looks at its rows: the baseline of reading."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence

import psycopg
from psycopg.pq import ExecStatus

from benchmarks.setting import Setting
from tapehouse.store.connection import Connection


def copy_out_baseline(
    connection: Connection, setting: Setting, statements: Sequence[str]
) -> tuple[Callable[[], float], str]:
    """What tells how many seconds the COPY statements take in psql, else in a libpq loop; and its name."""
    portions = f", in {len(statements)} portions" if len(statements) > 1 else ""
    if setting.psql is None:
        name = f"COPY TO STDOUT (FORMAT binary), a libpq loop{portions}"
        return lambda: _libpq_time_s(connection, statements), name
    psql = setting.psql
    name = f"COPY TO STDOUT (FORMAT binary), psql to /dev/null{portions}"
    return lambda: _psql_time_s(psql, setting.url, statements), name


def _psql_time_s(psql: str, url: str, statements: Sequence[str]) -> float:
    """What psql says that the statements took, its start and connecting left out."""
    commands = "\n".join(["\\timing on", *(rf"{statement} \g /dev/null" for statement in statements)])
    environment = {**os.environ, "LC_ALL": "C"}
    output = subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", url],
        input=commands,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
    ).stdout
    return sum(float(time_ms) for time_ms in re.findall(r"Time: ([\d.]+) ms", output)) / 1000


def _libpq_time_s(connection: Connection, statements: Sequence[str]) -> float:
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
