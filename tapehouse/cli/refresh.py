"""`tapehouse refresh`: all that is derived from stored data, brought up to date."""

from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.derived import Derived, refresh_derived, tell_derived
from tapehouse.cli.options import database_option, json_option, open_database, usable_database
from tapehouse.cli.output import print_json, remark, utc_text

if TYPE_CHECKING:
    from tapehouse.ranges import TimeRange

_EPILOG: Final = """\b
Examples:
  tapehouse refresh
  tapehouse refresh --json
"""


@click.command(epilog=_EPILOG)
@database_option
@json_option
def refresh(*, url: str | None, as_json: bool) -> None:
    """Refresh rollups and features.

    All that is derived: rollups of candles, candles built from trades, features of order books and trades.
    Only what was written since the last time is read again. `tapehouse ingest` does this by itself; the
    command is for what was interrupted or written otherwise.
    """
    from tapehouse.store.roles import require_owner

    with open_database(url) as connection:
        require_owner(connection, "refresh rollups")
    derived = refresh_derived(usable_database(url), progress=_tell)
    if as_json:
        print_json(derived.as_json())
        return
    tell_derived(derived, click.echo)
    if derived == Derived():
        click.echo("All that is derived was up to date.")


def _tell(what: str, span: "TimeRange") -> None:
    start, end = span
    remark(f"{what}: {utc_text(start)} to {utc_text(end)} UTC")
