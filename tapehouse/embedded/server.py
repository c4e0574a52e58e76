"""The embedded server from outside: start it, stop it, ask for it, delete its data.

The server itself is `tapehouse.embedded.supervisor` and the Node process under it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import psycopg

from tapehouse.embedded.directory import DataDirectory
from tapehouse.embedded.engine import installed_engine
from tapehouse.errors import ServiceError

_START_TIMEOUT_S = 60.0
# Longer than the supervisor waits for the engine, see there.
_STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class EmbeddedStatus:
    """Whether an embedded server runs on a data directory, and where it answers."""

    running: bool
    data_dir: Path
    url: str | None
    pid: int | None
    port: int | None
    started_at: datetime | None
    log_path: Path


def start(data_dir: Path, *, port: int | None = None) -> EmbeddedStatus:
    """Start the server in the background, or find the one that runs; returns when it answers queries.

    Without a port the one of the last time is taken if it is free, else any. Raises ServiceError, with what the
    server said last, if it doesn't come up.
    """
    directory = _prepared(data_dir)
    if not directory.is_supervised():
        with _launched(directory, port=port, owned=False) as supervisor:
            _await_report(supervisor, directory)
            supervisor.wait()
    return _await_answer(directory)


@contextmanager
def running(data_dir: Path, *, port: int | None = None) -> Generator[EmbeddedStatus]:
    """A server that lives as long as the block, or as this process if that ends first."""
    directory = _prepared(data_dir)
    if directory.is_supervised():
        raise ServiceError(f"An embedded server already runs on {directory.path}: stop it first.")
    with _launched(directory, port=port, owned=True) as supervisor:
        try:
            _await_report(supervisor, directory)
            yield _await_answer(directory)
        finally:
            _end_owned(supervisor)


def stop(data_dir: Path) -> bool:
    """Stop the server cleanly and wait until it is gone; False if none ran."""
    directory = DataDirectory(data_dir.resolve())
    if not directory.is_ours or not directory.is_in_use():
        return False
    record = directory.read_record()
    if record is not None and directory.is_supervised():
        # The lock is held, so the process that wrote the record lives and the pid is still its own.
        os.kill(record.supervisor_pid, signal.SIGTERM)
    if not _comes_true(lambda: not directory.is_in_use(), within_s=_STOP_TIMEOUT_S):
        raise ServiceError(f"The embedded server on {directory.path} does not stop: see {directory.log_path}.")
    return True


def status(data_dir: Path) -> EmbeddedStatus:
    """What is known of the server on that data directory."""
    directory = DataDirectory(data_dir.resolve())
    record = directory.read_record()
    if record is None or not directory.is_supervised():
        return EmbeddedStatus(
            running=False,
            data_dir=directory.path,
            url=None,
            pid=None,
            port=None,
            started_at=None,
            log_path=directory.log_path,
        )
    return EmbeddedStatus(
        running=True,
        data_dir=directory.path,
        url=directory.url(record.port),
        pid=record.supervisor_pid,
        port=record.port,
        started_at=record.started_at,
        log_path=directory.log_path,
    )


def reset(data_dir: Path) -> None:
    """Stop the server and delete its data; the next start begins anew. Refuses a folder that isn't one of ours."""
    directory = DataDirectory(data_dir.resolve())
    directory.refuse_foreign()
    stop(data_dir)
    with directory.supervisor_lock() as supervisor, directory.engine_lock() as engine:
        if supervisor is None or engine is None:
            raise ServiceError(f"An embedded server was started on {directory.path} meanwhile: nothing was deleted.")
        directory.delete_data()


def _prepared(data_dir: Path) -> DataDirectory:
    installed_engine()
    directory = DataDirectory(data_dir.resolve())
    directory.claim()
    return directory


@contextmanager
def _launched(directory: DataDirectory, *, port: int | None, owned: bool) -> Generator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tapehouse.embedded.supervisor", str(directory.path)]
    if port is not None:
        command += ["--port", str(port)]
    if owned:
        command += ["--owned"]
    with subprocess.Popen(  # noqa: S603 -- our own module on our own interpreter
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as supervisor:
        yield supervisor


def _await_report(supervisor: "subprocess.Popen[str]", directory: DataDirectory) -> None:
    """Read the one line a supervisor says when it is up, or why it isn't."""
    line = cast("IO[str]", supervisor.stdout).readline()
    if not line:
        said = cast("IO[str]", supervisor.stderr).read().strip().splitlines()
        raise ServiceError(f"The embedded server did not start: {said[-1] if said else f'see {directory.log_path}'}")
    report = cast("dict[str, Any]", json.loads(line))
    if "error" in report:
        raise ServiceError(f"The embedded server did not start: {report['error']} (log: {directory.log_path})")


def _await_answer(directory: DataDirectory) -> EmbeddedStatus:
    """Wait for the server, ours or the one another process is starting, to answer a query."""
    answered: list[EmbeddedStatus] = []

    def answers() -> bool:
        current = status(directory.path)
        if current.url is not None and _answers(current.url):
            answered.append(current)
        return bool(answered)

    if not _comes_true(answers, within_s=_START_TIMEOUT_S):
        raise ServiceError(f"The embedded server on {directory.path} does not answer: see {directory.log_path}.")
    return answered[0]


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _end_owned(supervisor: "subprocess.Popen[str]") -> None:
    cast("IO[str]", supervisor.stdin).close()
    try:
        supervisor.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()


def _comes_true(condition: Callable[[], bool], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
