"""`tapehouse db maintain`: compression and retention kept going, and whether they do what they should."""

from typing import TYPE_CHECKING, Any, Final

import click

from tapehouse.cli.options import database_option, json_option, open_database
from tapehouse.cli.output import Column, print_json, print_table, remark
from tapehouse.cli.status import end_with, findings_json, print_storage, status_json, tell_findings

if TYPE_CHECKING:
    from tapehouse.status import StorageCheck

_EPILOG: Final = """\b
Examples:
  tapehouse db maintain
  tapehouse db maintain --json

\b
A server with background workers runs its jobs by itself: there only those are run that it has left
undone for an hour. The embedded database runs none, so there all that are due are run: rollups and
features are refreshed, what is older than `tapehouse db retention` says is dropped, and old chunks
are compressed. Run it once a day or so, or let the flow check-storage do that. Nothing is dropped
before what is derived from it is up to date.

\b
Exit code 1 says that something needs a person: a job that fails or is missing, compression that saves
less than it should, chunks that wait for days.
"""
_RUNS: Final = (Column("job"), Column("took", align="right"), Column("error", wraps=True))
_UNDERMINED: Final = (Column("table"), Column("what undermines compression", wraps=True))


@click.command(epilog=_EPILOG)
@database_option
@json_option
def maintain(*, url: str | None, as_json: bool) -> None:
    """Run the storage's jobs that are due, and check it.

    Are the jobs there that compress and drop, and do they run? Which chunks wait for them, and how much space
    does compression save?
    """
    from tapehouse.status import Limits, check_storage, find_storage_problems

    with open_database(url) as connection:
        check = check_storage(connection, progress=remark)
    problems = find_storage_problems(check.status, Limits())
    if as_json:
        print_json({**_json(check), **findings_json(problems)})
    else:
        _print(check)
        tell_findings(problems)
    end_with(problems)


def _json(check: "StorageCheck") -> dict[str, Any]:
    from tapehouse.status import undermined_by

    runs = [
        {"job_id": run.job.job_id, "job": run.job.name, "seconds": run.seconds, "error": run.error}
        for run in check.runs
    ]
    status = status_json(check.status)
    tables = [
        {**shown, "undermined_by": undermined_by(table)}
        for shown, table in zip(status["tables"], check.status.tables, strict=True)
    ]
    return {"runs": runs, "tables": tables, "retention": status["retention"], "jobs": status["jobs"]}


def _print(check: "StorageCheck") -> None:
    from tapehouse.status import undermined_by

    if check.runs:
        print_table(_RUNS, ((run.job.name, f"{run.seconds:.1f}s", run.error) for run in check.runs))
    else:
        click.echo("No job was left to be run.")
    click.echo()
    print_storage(check.status)
    undermined = [(table.name, "; ".join(undermined_by(table))) for table in check.status.tables]
    if any(what for _, what in undermined):
        click.echo()
        print_table(_UNDERMINED, (one for one in undermined if one[1]))
