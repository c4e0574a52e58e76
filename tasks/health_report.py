"""The report of a status in Markdown, for people who look at a run in Prefect."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from tapehouse.status import Finding, SeriesStatus, Status
from tapehouse.status.texts import size, span

# A report is kept for every run: those that lag most, not hundreds.
_MOST_SERIES: Final = 20


def health_report(read: Status, findings: Sequence[Finding]) -> str:
    """All of a status on one page, what needs a person first."""
    return "\n\n".join(
        [
            f"# Store at {_time(read.read_at)} UTC",
            _findings(findings),
            _database(read),
            "## Freshness",
            _series(read),
            "## Rollups and features",
            _table(
                ["derived", "computed to (UTC)", "notes", "waiting"],
                ([one.name, _time(one.watermark), one.stale, _span(one.waiting_s or None)] for one in read.rollups),
            ),
            "## Storage",
            _table(
                ["table", "size", "chunks", "compressed", "saved", "due"],
                (
                    [one.name, size(one.bytes), one.chunks, one.compressed, _percent(one.saved), one.due]
                    for one in read.tables
                ),
            ),
            "## Retention",
            _table(
                ["dataset", "kept for", "kept from (UTC)", "dropped before (UTC)", "overdue"],
                (
                    [one.dataset, one.keep or "forever", _time(one.kept_since), _time(one.dropped_before), one.overdue]
                    for one in read.retention
                ),
            ),
            "## Jobs",
            _table(
                ["job", "went well (UTC)", "due (UTC)", "failed", "error"],
                (
                    [job.name, _time(job.succeeded_at), _time(job.due_at), job.failed_in_a_row, job.error or ""]
                    for job in read.jobs
                ),
            ),
        ]
    )


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing needs a person."
    return "\n".join(f"- **{one.kind}** ({one.severity}): {one.message}" for one in findings)


def _database(read: Status) -> str:
    database, disk = read.database, read.disk
    grown = database.grown_bytes_per_day
    growth = "" if grown is None else f", {size(grown)} more a day lately"
    left = (
        f"{size(disk.free_bytes)} of {size(disk.total_bytes)} are left" if disk else "how much is left is unknown here"
    )
    return (
        f"PostgreSQL {database.postgresql}, TimescaleDB {database.timescaledb}; "
        f"the database takes {size(database.bytes)}{growth}; of its volume {left}."
    )


def _series(read: Status) -> str:
    shown = _table(
        ["series", "to (UTC)", "lag", "usual", "gaps", "longest", "failed", "rejected 24h"],
        map(_series_row, read.by_lag()[:_MOST_SERIES]),
    )
    rest = len(read.series) - _MOST_SERIES
    return f"{shown}\n\n{rest} more series lag less." if rest > 0 else shown


def _series_row(one: SeriesStatus) -> list[object]:
    place = [one.name, _time(one.covered_until), _span(one.lag_s), _span(one.expected_lag_s)]
    return [*place, one.gaps, _span(one.longest_gap_s), one.failed, one.rejected_24h]


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else ""


def _span(seconds: float | None) -> str:
    return "" if seconds is None else span(seconds)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
