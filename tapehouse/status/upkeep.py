"""Keeping the storage in order: running the server's jobs where the server does not, and looking at what they did.

A server with background workers runs its jobs by itself, so there only those are run that it has left undone. What
compression and retention do is the jobs' business (`sql/migrations`); what of it all needs a person, that of
`tapehouse.status.findings`.
"""

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import psycopg

from tapehouse.status.reading import read_status
from tapehouse.status.records import JobStatus, Status
from tapehouse.store import features, rollups
from tapehouse.store.connection import Connection, is_lost, one_row, store_errors
from tapehouse.store.locks import advisory_lock
from tapehouse.store.sql import query

# Any constant does, as long as every tapehouse uses the same: "keep" in ASCII.
_LOCK_KEY: Final = 0x6B656570
_LOCK_WAIT_S: Final = 600.0
_LOCK_BUSY: Final = "Another check of the storage has been running for ten minutes: try again later."
# The order in which jobs are run: what is dropped need not be compressed before.
_RETENTION: Final = ("retain_ohlcv", "retain_ticks", "retain_features")
_ORDER: Final = (*_RETENTION, "policy_compression", "compress_rollups")
# What those drop.
_DROPPED: Final = {
    "retain_ohlcv": ("ohlcv",),
    "retain_ticks": ("trade", "order_book"),
    "retain_features": ("order_book_1s", "imbalance"),
}
# A server with background workers starts a job within seconds of its time.
_LEFT_UNDONE_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class JobRun:
    """A run of a job, how long it took, and what the server reported if it failed."""

    job: JobStatus
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True)
class StorageCheck:
    """Which jobs were run here, and how the store was doing after that."""

    runs: tuple[JobRun, ...]
    status: Status


def check_storage(connection: Connection, *, progress: Callable[[str], None] | None = None) -> StorageCheck:
    """Run the jobs that are due and that nobody else runs, then look at what they did; only one does so at a time.

    What is derived is refreshed before anything is dropped from under it. A job that fails stops no other: it is
    noted, and is due again soon. Calls `progress` with what comes next. Raises StoreError and its kinds, also where
    another check has been running for ten minutes.
    """
    tell = progress or _say_nothing
    with store_errors(), advisory_lock(connection, _LOCK_KEY, wait_s=_LOCK_WAIT_S, busy=_LOCK_BUSY):
        due = _due_jobs(read_status(connection))
        if any(job.procedure in _RETENTION for job in due):
            tell("refreshing what is derived")
            rollups.refresh_rollups(connection)
            features.refresh_features(connection)
        runs: list[JobRun] = []
        for job in due:
            tell(f"running {job.name}")
            runs.append(_run(connection, job))
    return StorageCheck(tuple(runs), read_status(connection))


def _say_nothing(_what: str) -> None:
    pass


def _due_jobs(status: Status) -> list[JobStatus]:
    """The jobs to run, in order: where the server does, what it has left undone, else what is due or has work to do."""
    if status.database.runs_jobs:
        latest = status.read_at - _LEFT_UNDONE_AFTER
        due = [job for job in status.jobs if not job.is_running and _is_due(job, latest)]
    else:
        busy = _with_work(status)
        due = [job for job in status.jobs if _is_due(job, status.read_at) or _works_on(job) & busy]
    return sorted((job for job in due if job.is_scheduled), key=lambda job: _ORDER.index(job.procedure))


def _is_due(job: JobStatus, latest: datetime) -> bool:
    return job.due_at is None or job.due_at <= latest


def _with_work(status: Status) -> set[tuple[str, str]]:
    """Of which tables chunks wait to be compressed, or to be dropped."""
    return {
        *(("compress", table.name) for table in status.tables if table.due),
        *(("drop", kept.dataset) for kept in status.retention if kept.overdue),
    }


def _works_on(job: JobStatus) -> set[tuple[str, str]]:
    """The tables of which a job compresses chunks, or drops them."""
    if job.procedure not in _RETENTION:
        return {("compress", table) for table in (job.of_what or "").split(", ")}
    return {("drop", table) for table in _DROPPED[job.procedure]}


def _run(connection: Connection, job: JobStatus) -> JobRun:
    """Run a job and note how that went."""
    (started_at,) = one_row(connection.execute(query("read_clock")))
    started_s = time.perf_counter()
    error = _error_of(connection, job)
    parameters = {"job_id": job.job_id, "started_at": started_at, "error": error}
    connection.execute(query("record_job_run"), parameters)
    return JobRun(job, time.perf_counter() - started_s, error)


def _error_of(connection: Connection, job: JobStatus) -> str | None:
    """Run a job; returns what the server reported if it failed."""
    try:
        with _undisturbed(connection, job):
            connection.execute(query("run_job"), {"job_id": job.job_id})
    except psycopg.Error as error:
        if is_lost(error):
            raise
        return str(error).strip().splitlines()[0]
    return None


@contextmanager
def _undisturbed(connection: Connection, job: JobStatus) -> Generator[None]:
    """Keep refreshes from running beside retention, which would empty what is derived from the rows that go.

    The jobs lock them out themselves, but within the embedded database's functions a lock excludes nobody.
    """
    with ExitStack() as locks:
        if job.procedure in _RETENTION:
            locks.enter_context(rollups.refresh_lock(connection))
            locks.enter_context(features.refresh_lock(connection))
        yield
