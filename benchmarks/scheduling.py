"""What Prefect costs: an ingest through its flow against the library alone, and how much the schedules have it record.

The server is a real one, with the settings of `make up`, on a database of its own in a new folder.
"""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.figure import Figure
from benchmarks.rounds import Rounds, take_rounds
from benchmarks.setting import EXCHANGE_PREFIX, Setting
from flows.local.daemon import Daemon
from flows.local.server import prefect_environment, start_server
from tapehouse.config import DATABASE_URL, EXCHANGE_URL
from tapehouse.errors import ServiceError
from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.store.connection import connect

_SEED: Final = 7
_SYMBOLS: Final = 50
_ROUNDS: Final = 3


def prefect_overhead_share(setting: Setting) -> Figure:
    """A day of 1m candles of each of 50 series; the share is what the ratio has above one."""
    series = str(setting.sizes.scheduled_series)
    with _scheduled(setting) as environment:

        def seconds(way: str) -> float:
            # From nothing each time; what a market is called is all that would hinder that.
            with setting.emptied_database():
                taken_s = float(_said(environment, way, series))
            _disown(setting)
            return taken_s

        taken = take_rounds(min(_ROUNDS, setting.sizes.rounds), lambda: seconds("flow"), lambda: seconds("library"))
    return taken.as_cost("prefect_overhead_share", "s", baseline="ingest_batch and the refreshes, without Prefect")


def task_runs_per_hour_at_steady_state(setting: Setting) -> Figure:
    """Each scheduled deployment is run twice, and the second run's tasks are counted, times its runs an hour."""
    with _scheduled(setting) as environment, setting.emptied_database():
        flow_runs, task_runs = map(float, _said(environment, "tasks", str(setting.sizes.scheduled_deployments)).split())
        _disown(setting)
    rounds = Rounds((task_runs,), (flow_runs,))
    return rounds.as_cost("task_runs_per_hour_at_steady_state", "runs/h", baseline="flow runs of the same schedules")


@contextmanager
def _scheduled(setting: Setting) -> Generator[Mapping[str, str]]:
    """A Prefect server and a sandbox exchange, and the environment in which processes find both and the database."""
    with (
        tempfile.TemporaryDirectory(prefix="tapehouse-bench-") as folder,
        Sandbox(generated_markets(seed=_SEED, extra=_SYMBOLS)) as sandbox,
        socket.create_server(("127.0.0.1", 0)) as free,
    ):
        port = free.getsockname()[1]
        free.close()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment = {
            **inherited,
            **prefect_environment(Path(folder) / "prefect", port),
            DATABASE_URL: setting.url,
            EXCHANGE_URL: sandbox.url,
        }
        server = Daemon("Prefect server", Path(folder))
        try:
            start_server(server, environment, port)
            yield environment
        finally:
            server.stop()


def _said(environment: Mapping[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks.scheduled_process", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"The measured process failed:\n{done.stderr}")
    return done.stdout


def _disown(setting: Setting) -> None:
    """Let the next benchmark empty the database: what was ingested was made up."""
    with connect(setting.url) as connection:
        connection.execute("update instrument set exchange = %s || instrument_id", [EXCHANGE_PREFIX])
