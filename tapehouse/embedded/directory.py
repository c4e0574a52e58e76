"""A data directory of the embedded database: what lies where, whose it is, and who holds it.

- `tapehouse-embedded` marks the folder as ours
- `pgdata/` are PostgreSQL's files, `password` has mode 600, `port` is the last one used
- `server.json` is what the running supervisor says of itself, `server.log` what happened
- `supervisor.lock` is held while the supervisor lives, `engine.lock` while it or the engine lives
"""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, cast

from tapehouse.errors import ServiceError

USER = "tapehouse"
DATABASE = "tapehouse"
_MARKER = "tapehouse-embedded"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What a running supervisor says of itself."""

    supervisor_pid: int
    port: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The folder that holds one embedded database."""

    path: Path

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's own files."""
        return self.path / "pgdata"

    @property
    def log_path(self) -> Path:
        """The supervisor's and the engine's log."""
        return self.path / "server.log"

    @property
    def is_ours(self) -> bool:
        """Whether the folder is an embedded database."""
        return (self.path / _MARKER).exists()

    def claim(self) -> None:
        """Mark the folder as ours, making it if need be; refuse one that holds anything else."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.is_ours:
            return
        # Another process may be claiming it at this very moment, so names that begin like the marker don't count.
        if any(not entry.name.startswith(_MARKER) for entry in self.path.iterdir()):
            raise ServiceError(f"{self.path} is neither empty nor an embedded database: choose another data directory.")
        _write_atomically(self.path / _MARKER, "1\n")

    def create(self, template: Path) -> None:
        """Make the database and its password if they are missing; for the holder of the locks."""
        password = self.path / "password"
        if not password.exists():
            _write_atomically(password, secrets.token_urlsafe(24), mode=0o600)
        if not self.pgdata.exists():
            copying = self.path / "pgdata.new"
            shutil.rmtree(copying, ignore_errors=True)
            shutil.copytree(template, copying)
            copying.rename(self.pgdata)

    def delete_data(self) -> None:
        """Remove everything but the locks and the marker."""
        self.refuse_foreign()
        # Renamed first: a deletion that is cut short must not leave half a database behind.
        doomed = self.path / "pgdata.old"
        shutil.rmtree(doomed, ignore_errors=True)
        if self.pgdata.exists():
            self.pgdata.rename(doomed)
        for name in ("pgdata.old", "pgdata.new"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in ("password", "port", "server.json", "server.log", "server.log.1"):
            (self.path / name).unlink(missing_ok=True)

    def refuse_foreign(self) -> None:
        """Raise ServiceError if the folder isn't an embedded database."""
        if not self.is_ours:
            raise ServiceError(f"{self.path} is not an embedded database of tapehouse: nothing was touched.")

    def url(self, port: int) -> str:
        """The URL at which the database answers on that port."""
        password = (self.path / "password").read_text().strip()
        return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"

    def last_port(self) -> int | None:
        """The port used the last time."""
        try:
            return int((self.path / "port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def write_record(self, record: ServerRecord) -> None:
        """Say that the server runs, and where."""
        _write_atomically(self.path / "port", str(record.port))
        fields = {
            "supervisor_pid": record.supervisor_pid,
            "port": record.port,
            "started_at": record.started_at.isoformat(),
        }
        _write_atomically(self.path / "server.json", json.dumps(fields))

    def remove_record(self) -> None:
        """Say that the server doesn't run."""
        (self.path / "server.json").unlink(missing_ok=True)

    def read_record(self) -> ServerRecord | None:
        """What the supervisor said last; only true while it holds its lock."""
        try:
            fields = cast("dict[str, Any]", json.loads((self.path / "server.json").read_text()))
            return ServerRecord(
                supervisor_pid=fields["supervisor_pid"],
                port=fields["port"],
                started_at=datetime.fromisoformat(fields["started_at"]),
            )
        except (FileNotFoundError, ValueError, KeyError):
            return None

    @contextmanager
    def supervisor_lock(self) -> Generator[TextIO | None]:
        """Hold the supervisor's lock; None if another process does."""
        with _try_lock(self.path / "supervisor.lock") as lock:
            yield lock

    @contextmanager
    def engine_lock(self) -> Generator[TextIO | None]:
        """Hold the lock on PostgreSQL's files; None if another process does."""
        with _try_lock(self.path / "engine.lock") as lock:
            yield lock

    def is_supervised(self) -> bool:
        """Whether a supervisor lives; the kernel knows, whatever files a crash left behind."""
        with self.supervisor_lock() as lock:
            return lock is None

    def is_in_use(self) -> bool:
        """Whether a supervisor or an engine lives."""
        with self.engine_lock() as lock:
            return lock is None


@contextmanager
def held(take: Callable[[], AbstractContextManager[TextIO | None]], *, within_s: float) -> Generator[TextIO | None]:
    """Hold a lock that may be another's for a moment; None if it still is after that time."""
    deadline = time.monotonic() + within_s
    while True:
        with take() as lock:
            if lock is not None or time.monotonic() > deadline:
                yield lock
                return
        time.sleep(_POLL_S)


@contextmanager
def _try_lock(path: Path) -> Generator[TextIO | None]:
    if not path.parent.exists():
        raise ServiceError(f"{path.parent} does not exist: start the embedded database first.")
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield lock


def _write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.touch(mode=mode)
    new.write_text(text)
    new.replace(path)
