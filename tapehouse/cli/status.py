"""`tapehouse status`: how the store is doing, and what of it needs a person."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from tapehouse.cli.options import database_option, json_option, open_database
from tapehouse.cli.output import Column, nothing_stored, print_json, print_pairs, print_table, remark

if TYPE_CHECKING:
    from tapehouse.status import Finding, SeriesStatus, Status

NEEDS_A_PERSON: Final = 1
# One screen: those that lag most.
_MOST_SERIES: Final = 20
_EPILOG: Final = """\b
Examples:
  tapehouse status
  tapehouse status --json
  tapehouse status --json | jq '.findings[].message'

\b
Exit code 1 says that something needs a person; what, stands at the end:
  stale_data           a series that runs bring up to date lags by three intervals and ten minutes
  gap                  an hour or more is missing that was to be fetched
  quarantine_rate      1 % of the last day's rows were rejected, and ten of them
  rollup_behind        rollups or features wait for a refresh for an hour
  storage_job_failing  a job of the server fails, or is late by a day
  storage_job_missing  a job that compresses or drops is not there
  compression_poor     compression saves less than it should
  compression_overdue  chunks wait for compression for two days
  retention_overdue    what should have been dropped two days ago is there
  disk_low             5 % of the volume are left, or two weeks

\b
No row of data is read, so it takes no longer with more of them. Open gaps, as metrics and alerts count them
too, are those that `tapehouse repair` may close. `tapehouse gaps`, `coverage` and `quality` also count what
nobody can close: order books that were not sampled, what an exchange does not have, or answered with nothing.
A series is expected to be
fresh once `tapehouse ingest` or a flow has brought it up to date more than once within the last seven
days.
"""
_SERIES: Final = (
    Column("exchange"),
    Column("symbol"),
    Column("dataset"),
    Column("to (UTC)"),
    Column("lag", align="right"),
    Column("usual", align="right"),
    Column("intervals", align="right"),
    Column("open gaps", align="right"),
    Column("longest", align="right"),
    Column("failed", align="right"),
    Column("rejected 24h", align="right"),
    Column("share", align="right"),
)
_STORAGE: Final = (
    Column("table"),
    Column("size", align="right"),
    Column("chunks", align="right"),
    Column("compressed", align="right"),
    Column("saved", align="right"),
    Column("due", align="right"),
)
_ROLLUPS: Final = (
    Column("derived"),
    Column("computed to (UTC)"),
    Column("notes", align="right"),
    Column("waiting", align="right"),
)
_RETENTION: Final = (
    Column("dataset"),
    Column("kept for"),
    Column("kept from (UTC)"),
    Column("dropped before (UTC)"),
    Column("overdue", align="right"),
)
_JOBS: Final = (
    Column("job"),
    Column("went well (UTC)"),
    Column("due (UTC)"),
    Column("failed", align="right"),
    Column("error", wraps=True),
)


@click.command(epilog=_EPILOG)
@database_option
@json_option
def status(*, url: str | None, as_json: bool) -> None:
    """Show how the store is doing, and what needs a person.

    How fresh each series is and how fresh it usually is, what is missing and was rejected, the space that data take
    and what compression saves, rollups, retention, jobs, and what is left of the disk.
    """
    from tapehouse.status import Limits, find_problems, read_status

    with open_database(url) as connection:
        found = read_status(connection)
    problems = find_problems(found, Limits())
    if as_json:
        print_json({**status_json(found), **findings_json(problems)})
    else:
        _print(found)
        tell_findings(problems)
    end_with(problems)


def status_json(status: "Status") -> dict[str, Any]:
    """The status for programs, with what follows from it."""
    return {
        **asdict(status),
        "series": [
            {
                **asdict(one),
                "lag_intervals": one.lag_intervals,
                "expected_lag_s": one.expected_lag_s,
                "longest_gap_s": one.longest_gap_s,
                "reject_share_24h": one.reject_share_24h,
            }
            for one in status.series
        ],
        "tables": [{**asdict(one), "saved": one.saved} for one in status.tables],
    }


def findings_json(findings: Sequence["Finding"]) -> dict[str, Any]:
    """The findings for programs."""
    return {"needs_a_person": bool(findings), "findings": [asdict(one) for one in findings]}


def tell_findings(findings: Sequence["Finding"]) -> None:
    """Say what needs a person."""
    if not findings:
        click.echo("\nNothing needs a person.")
        return
    click.echo(f"\nNeeds a person ({len(findings)}):")
    for one in findings:
        click.echo(f"  {one.severity} {one.kind}: {one.message}")


def end_with(findings: Sequence["Finding"]) -> None:
    """End the command with exit code 1 if something needs a person."""
    if findings:
        raise SystemExit(NEEDS_A_PERSON)


def print_storage(status: "Status") -> None:
    """Print what the tables take and what compression saves, how long what is kept, and the jobs that see to it."""
    from tapehouse.status.texts import size

    print_table(
        _STORAGE,
        (
            (one.name, size(one.bytes), one.chunks, one.compressed, _percent(one.saved), one.due or None)
            for one in status.tables
        ),
    )
    click.echo()
    print_table(
        _RETENTION,
        (
            (one.dataset, one.keep or "forever", one.kept_since, one.dropped_before, one.overdue or None)
            for one in status.retention
        ),
    )
    click.echo()
    print_table(
        _JOBS,
        (
            (
                job.name,
                job.succeeded_at,
                job.due_at if job.is_scheduled else "paused",
                job.failed_in_a_row or None,
                job.error,
            )
            for job in status.jobs
        ),
    )


def _print(status: "Status") -> None:
    from tapehouse.status.texts import span

    print_pairs(_database(status))
    click.echo()
    if status.series:
        print_table(_SERIES, map(_series_row, status.by_lag()[:_MOST_SERIES]))
    else:
        remark(nothing_stored())
    if len(status.series) > _MOST_SERIES:
        remark(f"... and {len(status.series) - _MOST_SERIES:,} series that lag less: --json lists them all.")
    click.echo()
    print_table(
        _ROLLUPS,
        (
            (one.name, one.watermark, one.stale or None, span(one.waiting_s) if one.waiting_s else None)
            for one in status.rollups
        ),
    )
    click.echo()
    print_storage(status)


def _database(status: "Status") -> dict[str, object]:
    from tapehouse.status.texts import size

    database, disk = status.database, status.disk
    kind = "embedded, PostgreSQL" if database.is_embedded else "PostgreSQL"
    grown = database.grown_bytes_per_day
    growth = "" if grown is None else f", {size(grown)} more a day lately"
    return {
        "server": f"{kind} {database.postgresql}, TimescaleDB {database.timescaledb}",
        "database": f"{size(database.bytes)}{growth}",
        "disk": f"{size(disk.free_bytes)} of {size(disk.total_bytes)} left" if disk else "unknown: it is not here",
    }


def _series_row(one: "SeriesStatus") -> list[object]:
    from tapehouse.status.texts import span

    def said(seconds: float | None) -> str | None:
        return None if seconds is None else span(seconds)

    intervals = None if one.lag_intervals is None else round(one.lag_intervals)
    what = f"{one.dataset} {one.timeframe or ''}".rstrip()
    place = [one.exchange, one.symbol, what, one.covered_until, said(one.lag_s), said(one.expected_lag_s), intervals]
    missing = [one.gaps or None, said(one.longest_gap_s), one.failed or None]
    return [*place, *missing, one.rejected_24h or None, _percent(one.reject_share_24h) if one.rejected_24h else None]


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"
