"""What `make up` runs: a database, an exchange, Prefect's server and worker, and the deployments on it.

Everything listens on this machine alone and keeps its files in one folder. Each part is left alone if it runs and
started if it doesn't, so that doing it again mends whatever ended.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final, TypeAlias

from flows.local.daemon import Daemon
from flows.local.runs import crash_dead_runs, end_runs, skip_missed_runs, worker_polls
from flows.local.server import HOST, START_S, answers, prefect_environment, start_server
from flows.settings import ALERT_URL, WORK_POOL, WORKER
from tapehouse import embedded
from tapehouse.config import DATA_DIR, EXCHANGE_URL
from tapehouse.errors import ServiceError
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate

_ROOT: Final = Path(__file__).parents[2]

# What stands around each part as it is started or stopped, given its name.
Step: TypeAlias = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """How one part of the stack is."""

    name: str
    running: bool
    pid: int | None
    address: str | None
    log_path: Path


class Stack:
    """All parts that run on one folder."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._database = self._home / "database"
        self._exchange = Daemon("sandbox exchange", self._home)
        self._server = Daemon("Prefect server", self._home)
        self._worker = Daemon("worker", self._home)

    def up(self, *, port: int, exchange_port: int, step: Step) -> str:
        """Start what doesn't run, put the deployments on the server; gives the address of the UI.

        Raises ServiceError, with what to do, where a part can't be started.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._prepare(self._exchange, exchange_port, "EXCHANGE_PORT")
            self._prepare(self._server, port, "PORT")
            with step("Embedded TimescaleDB"):
                url = embedded.start(self._database).url or ""
                with connect(url) as connection:
                    migrate(connection)
            with step("Sandbox exchange"):
                self._start_exchange(exchange_port)
            with step("Prefect server"):
                start_server(self._server, self._prefect_environment(port), port)
            with step("Deployments, limits and automations"):
                self._deploy()
            with step("Worker"):
                self._start_worker()
        return self.ui_url

    def runs_elsewhere(self, *, port: int, exchange_port: int) -> list[str]:
        """Which parts run already on other ports than these, where `up` leaves them, in a sentence each."""
        asked = ((self._exchange, exchange_port), (self._server, port))
        return [
            f"The {one.name} runs on port {one.port} already, and stays there: `make down` first, to take {wanted}."
            for one, wanted in asked
            if one.is_running() and one.port != wanted
        ]

    def down(self, *, step: Step) -> None:
        """Stop all parts; what they stored stays."""
        if not self._home.exists():
            return
        with self._alone():
            with step("Worker and its runs"):
                self._worker.stop()
                self._end_runs()
            with step("Prefect server"):
                self._server.stop()
            with step("Sandbox exchange"):
                self._exchange.stop()
            with step("Embedded TimescaleDB"):
                embedded.stop(self._database)

    def status(self) -> list[ServiceStatus]:
        """How each part is; an address is what it answers at."""
        database = embedded.status(self._database)
        where = f"{HOST}:{database.port}" if database.running else None
        return [
            ServiceStatus("embedded TimescaleDB", database.running, database.pid, where, database.log_path),
            self._status(self._exchange, self.exchange_url),
            self._status(self._server, self.ui_url),
            self._status(self._worker, None),
        ]

    @property
    def ui_url(self) -> str:
        """The address of Prefect's pages."""
        return f"http://{HOST}:{self._server.port}"

    @property
    def exchange_url(self) -> str:
        """The address of the sandbox exchange."""
        return f"http://{HOST}:{self._exchange.port}"

    @property
    def database_dir(self) -> Path:
        """The folder of the database: TAPEHOUSE_DATA_DIR for the command line and the library."""
        return self._database

    @property
    def home(self) -> Path:
        """The folder with everything, also the logs."""
        return self._home

    @property
    def _prefect_home(self) -> Path:
        return self._home / "prefect"

    @property
    def _api_url(self) -> str:
        return f"{self.ui_url}/api"

    def _prepare(self, daemon: Daemon, port: int, variable: str) -> None:
        """Before anything is started: where it is to listen must be free, and a worker that looks elsewhere ends."""
        if daemon.is_running():
            return
        try:
            with socket.create_server((HOST, port)):
                pass
        except OSError as error:
            raise ServiceError(
                f"Port {port}, for the {daemon.name}, can't be used ({error.strerror}): end what listens there, "
                f"or take another one, as in `make up {variable}={port + 1}`."
            ) from error
        if port != daemon.port:
            self._worker.stop()

    def _start_exchange(self, port: int) -> None:
        if not self._exchange.is_running():
            arguments = ["-m", "tapehouse", "sandbox", "--port", str(port)]
            self._exchange.start(arguments, _environment(), port=port)
        self._exchange.await_ready(lambda: _listens(self._exchange.port or 0), within_s=START_S)

    def _deploy(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "flows.deploy"],
            cwd=_ROOT,
            env=self._prefect_environment(self._server.port),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServiceError(f"The deployments could not be put on the server. {done.stderr.strip()}")

    def _start_worker(self) -> None:
        if self._worker.is_running():
            return
        crash_dead_runs(self._api_url, WORK_POOL)
        skip_missed_runs(self._api_url, WORK_POOL)
        environment = self._prefect_environment(self._server.port) | {
            # Where the database listens may change, the folder of it doesn't.
            DATA_DIR: str(self._database),
            EXCHANGE_URL: self.exchange_url,
            **WORKER,
        }
        started_at = datetime.now(UTC)
        command = ["-m", "prefect", "worker", "start", "--pool", WORK_POOL, "--type", "process", "--name", "local"]
        self._worker.start(command, environment)
        self._worker.await_ready(lambda: worker_polls(self._api_url, WORK_POOL, since=started_at), within_s=START_S)

    def _end_runs(self) -> None:
        end_runs(self._prefect_home)
        # Else the next start does it.
        if self._server.is_running() and answers(f"{self._api_url}/health"):
            crash_dead_runs(self._api_url, WORK_POOL)

    def _prefect_environment(self, port: int | None) -> dict[str, str]:
        return {**_environment(), **prefect_environment(self._prefect_home, port or 0)}

    def _status(self, daemon: Daemon, address: str | None) -> ServiceStatus:
        pid = daemon.pid
        return ServiceStatus(daemon.name, pid is not None, pid, address if pid else None, daemon.log_path)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Nobody else starts or stops parts of this folder meanwhile."""
        with (self._home / "stack.lock").open("a") as lock:
            try:
                flock(lock, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                raise ServiceError(f"Another `make up` or `make down` works on {self._home}: wait for it.") from None
            yield


def _environment() -> dict[str, str]:
    """The environment of this process, without settings that are meant for other servers and databases."""
    others = ("PREFECT_", "TAPEHOUSE_")
    kept = {ALERT_URL: os.environ[ALERT_URL]} if ALERT_URL in os.environ else {}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**inherited, **kept, "PYTHONPATH": str(_ROOT)}


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=5):
            return True
    except OSError:
        return False
