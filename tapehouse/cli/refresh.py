"""`tapehouse refresh`: the rollups, brought up to date."""

from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.options import database_option, json_option, open_database
from tapehouse.cli.output import print_json, remark, utc_text

if TYPE_CHECKING:
    from tapehouse.ranges import TimeRange
    from tapehouse.timeframe import Timeframe

_EPILOG: Final = """\b
Examples:
  tapehouse refresh
  tapehouse refresh --json
"""


@click.command(epilog=_EPILOG)
@database_option
@json_option
def refresh(*, url: str | None, as_json: bool) -> None:
    """Refresh the rollups, 5m to 1d.

    Only the days written since the last time are read again. `tapehouse ingest` does this by
    itself; the command is for what was interrupted or written otherwise.
    """
    from tapehouse.store.rollups import refresh_rollups

    with open_database(url) as connection:
        days = refresh_rollups(connection, progress=_tell).days
    if as_json:
        print_json({"rollups_refreshed": [{"start": start, "end": end} for start, end in days]})
        return
    for start, end in days:
        click.echo(f"Rollups refreshed from {utc_text(start)} to {utc_text(end)} UTC.")
    if not days:
        click.echo("The rollups were up to date.")


def _tell(rollup: "Timeframe", span: "TimeRange") -> None:
    start, end = span
    remark(f"{rollup}: {utc_text(start)} to {utc_text(end)} UTC")
