"""What of a status needs a person, and the limits beyond which it does."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from tapehouse.status.compression import undermined_by
from tapehouse.status.records import JobStatus, RetentionStatus, RollupStatus, SeriesStatus, Status, TableStatus
from tapehouse.status.texts import counted, size, span
from tapehouse.store.rollups import ROLLUPS, TRADE_CANDLES

Kind = Literal[
    "stale_data",
    "gap",
    "quarantine_rate",
    "rollup_behind",
    "storage_job_failing",
    "storage_job_missing",
    "compression_poor",
    "compression_overdue",
    "retention_overdue",
    "disk_low",
]
Severity = Literal["warning", "critical"]

_HOUR_S: Final = 3600.0
_DAY_S: Final = 24 * _HOUR_S
_MIB: Final = 2**20
# What is lost, or stops everything, if nobody looks at it soon.
_CRITICAL: Final = frozenset[Kind]({"stale_data", "storage_job_missing", "disk_low"})
_COMPRESSED_TABLES: Final = ("ohlcv", "trade", "order_book", "order_book_1s", "imbalance")
_ROLLUPS: Final = (*(f"candle_{one}" for one in ROLLUPS), *(f"trade_candle_{one}" for one in TRADE_CANDLES))
_BOOK_TABLES: Final = ("order_book", "order_book_1s", "imbalance")
_SPARSE_TABLES: Final = ("candle_4h", "candle_1d")
_RETENTION_JOBS: Final = ("retain_ohlcv", "retain_ticks", "retain_features")
_UPKEEP: Final = "run `tapehouse db maintain`"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that needs a person: of which kind, about what, and in one sentence what to do."""

    kind: Kind
    subject: str
    message: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond what something needs a person.

    - A series that runs have set out to bring up to the present within `followed_s`, more than once, is followed. It is
      stale when it lags by more than `stale_intervals`, each its candles' length or the time between two runs,
      whichever is longer, and by more than `stale_at_least_s`.
    - A gap is told of from `gap_s` on.
    - Rejected rows of the last 24 hours from `quarantine_rows` and a share of `quarantine_share` on.
    - Rollups and features that could have been refreshed, after `rollup_waiting_s`.
    - Jobs that the server should have run, after `job_late_s`.
    - Compression that saves less than `compression_saved`, and of order books and features, whose numbers all change
      from row to row, less than `books_saved`; from `compression_enough_bytes` of compressed rows on. Of candles of
      four hours and a day a chunk holds too few for that.
    - Chunks that are due for compression, or for retention, after `overdue_s`.
    - A volume with less than `disk_free_share` left, or with less than the database grows in `disk_days`.
    """

    followed_s: float = 7 * _DAY_S
    stale_intervals: float = 3.0
    stale_at_least_s: float = 600.0
    gap_s: float = _HOUR_S
    quarantine_rows: int = 10
    quarantine_share: float = 0.01
    rollup_waiting_s: float = _HOUR_S
    job_late_s: float = _DAY_S
    compression_saved: float = 0.8
    books_saved: float = 0.4
    compression_enough_bytes: int = 64 * _MIB
    overdue_s: float = 2 * _DAY_S
    disk_free_share: float = 0.05
    disk_days: float = 14.0


def find_problems(status: Status, limits: Limits) -> list[Finding]:
    """What of the status needs a person, the critical first."""
    found = [
        *(one for series in status.series for one in _in_series(series, status.read_at, limits)),
        *(one for rollup in status.rollups for one in _in_rollup(rollup, limits)),
        *find_storage_problems(status, limits),
    ]
    return _critical_first(found)


def find_storage_problems(status: Status, limits: Limits) -> list[Finding]:
    """What of the storage alone needs a person: jobs, compression, retention and disk."""
    found = [
        *_in_jobs(status, limits),
        *(one for table in status.tables for one in _in_table(table, status.read_at, limits)),
        *(one for kept in status.retention for one in _in_retention(kept, status.read_at, limits)),
        *_on_disk(status, limits),
    ]
    return _critical_first(found)


def is_followed(series: SeriesStatus, now: datetime, limits: Limits) -> bool:
    """Whether runs keep the series up to the present, so that it is expected to be fresh."""
    if not series.is_active or series.asked_at is None or series.asked_every_s is None:
        return False
    return max((now - series.asked_at).total_seconds(), series.asked_every_s) <= limits.followed_s


def stale_after_s(series: SeriesStatus, limits: Limits) -> float:
    """The lag from which on a series that is followed is stale."""
    interval_s = max(series.interval_s or 0.0, series.asked_every_s or 0.0)
    return max(limits.stale_intervals * interval_s, limits.stale_at_least_s)


def _critical_first(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda one: one.severity != "critical")


def _finding(kind: Kind, subject: str, message: str) -> Finding:
    return Finding(kind, subject, message, "critical" if kind in _CRITICAL else "warning")


def _in_series(series: SeriesStatus, now: datetime, limits: Limits) -> Iterator[Finding]:
    if is_followed(series, now, limits):
        yield from _stale(series, limits)
    gap_s = series.longest_gap_s
    if gap_s is not None and gap_s >= limits.gap_s:
        more = f", and has {counted(series.gaps - 1, 'more gap')}" if series.gaps > 1 else ""
        yield _finding(
            "gap",
            series.name,
            f"{series.name} lacks {span(gap_s)} from {series.longest_gap_start:%Y-%m-%d %H:%M} UTC on{more}: "
            "`tapehouse gaps` says why, `tapehouse repair` closes what can be closed.",
        )
    share = series.reject_share_24h
    if share is not None and series.rejected_24h >= limits.quarantine_rows and share >= limits.quarantine_share:
        yield _finding(
            "quarantine_rate",
            series.name,
            f"Of {series.name}, {series.rejected_24h:,} rows of the last 24 hours ({share:.1%}) were rejected: "
            "`tapehouse quarantine` shows them with their reasons.",
        )


def _stale(series: SeriesStatus, limits: Limits) -> Iterator[Finding]:
    if series.lag_s is None:
        yield _finding(
            "stale_data", series.name, f"Nothing of {series.name} has come, though runs ask for it: see their logs."
        )
    elif series.lag_s > stale_after_s(series, limits):
        yield _finding(
            "stale_data",
            series.name,
            f"{series.name} ends {span(series.lag_s)} ago ({series.lag_intervals:,.0f} intervals), usual are at most "
            f"{span(series.expected_lag_s or 0.0)}: see whether its runs are started and what they say.",
        )


def _in_rollup(rollup: RollupStatus, limits: Limits) -> Iterator[Finding]:
    if rollup.waiting_s > limits.rollup_waiting_s:
        yield _finding(
            "rollup_behind",
            rollup.name,
            f"{rollup.name} has waited {span(rollup.waiting_s)} for a refresh from "
            f"{rollup.stale_from:%Y-%m-%d %H:%M} UTC on: run `tapehouse refresh`, and see why nothing else does.",
        )


def _in_jobs(status: Status, limits: Limits) -> Iterator[Finding]:
    yield from _missing(status.jobs)
    for job in status.jobs:
        late_s = (status.read_at - job.due_at).total_seconds() if job.due_at else 0.0
        if job.failed_in_a_row:
            yield _finding(
                "storage_job_failing",
                job.name,
                f"{job.name} (job {job.job_id}) failed, {counted(job.failed_in_a_row, 'time')} in a row: "
                f"{job.error or 'the server does not say why'}.",
            )
        # Where the server runs none, what counts is what there was to do: chunks that are due.
        elif status.database.runs_jobs and not job.is_running and late_s > limits.job_late_s:
            yield _finding(
                "storage_job_failing",
                job.name,
                f"{job.name} (job {job.job_id}) is due for {span(late_s)} and was not run: see whether the "
                f"server's background workers do, and {_UPKEEP}.",
            )


def _missing(jobs: Iterable[JobStatus]) -> Iterator[Finding]:
    jobs = list(jobs)
    scheduled = {(job.procedure, job.of_what) for job in jobs if job.is_scheduled}
    rolled = {view for procedure, of in scheduled if procedure == "compress_rollups" and of for view in of.split(", ")}
    for table in _COMPRESSED_TABLES:
        if ("policy_compression", table) not in scheduled:
            yield _no_job(f"policy_compression of {table}", "no job compresses it")
    for rollup in _ROLLUPS:
        if rollup not in rolled:
            yield _no_job(f"compress_rollups of {rollup}", "no job compresses it")
    for procedure in _RETENTION_JOBS:
        if (procedure, None) not in scheduled:
            yield _no_job(procedure, "nothing old is dropped")


def _no_job(name: str, hence: str) -> Finding:
    return _finding(
        "storage_job_missing",
        name,
        f"The database has no job {name}, or it is paused: {hence}. Make it again, as in sql/migrations.",
    )


def _in_table(table: TableStatus, now: datetime, limits: Limits) -> Iterator[Finding]:
    expected = limits.books_saved if table.name in _BOOK_TABLES else limits.compression_saved
    is_judged = table.name not in _SPARSE_TABLES and table.before_bytes >= limits.compression_enough_bytes
    if is_judged and table.saved is not None and table.saved < expected:
        why = "; ".join(undermined_by(table)) or "its values differ too much from row to row"
        yield _finding(
            "compression_poor",
            table.name,
            f"Compression of {table.name} saves {table.saved:.0%}, less than {expected:.0%}: {why}.",
        )
    if table.due_since and (late_s := (now - table.due_since).total_seconds()) > limits.overdue_s:
        yield _finding(
            "compression_overdue",
            table.name,
            f"{counted(table.due, 'chunk')} of {table.name} should have been compressed {span(late_s)} ago: {_UPKEEP}.",
        )


def _in_retention(kept: RetentionStatus, now: datetime, limits: Limits) -> Iterator[Finding]:
    if kept.overdue_since is None or (now - kept.overdue_since).total_seconds() <= limits.overdue_s:
        return
    held = kept.held_from is not None and kept.kept_since is not None and kept.held_from < kept.kept_since
    why = _UPKEEP
    if held:
        why = "what is derived from it is behind, so run `tapehouse refresh`"
    elif kept.is_archived:
        why = "it goes only once it is archived, so run `tapehouse archive`, then `tapehouse db maintain`"
    yield _finding(
        "retention_overdue",
        kept.dataset,
        f"{counted(kept.overdue, 'chunk')} of {kept.dataset}, which is kept for {kept.keep}, should be gone: {why}.",
    )


def _on_disk(status: Status, limits: Limits) -> Iterator[Finding]:
    disk, grown = status.disk, status.database.grown_bytes_per_day
    if disk is None:
        return
    days = disk.free_bytes / grown if grown else None
    is_short = days is not None and days < limits.disk_days
    if disk.free_bytes >= limits.disk_free_share * disk.total_bytes and not is_short:
        return
    lasts = f", which last {days:,.0f} days as it grows" if days is not None else ""
    yield _finding(
        "disk_low",
        disk.path,
        f"The volume of the database has {size(disk.free_bytes)} of {size(disk.total_bytes)} left{lasts}: "
        "make room, or keep less (tapehouse db retention).",
    )
