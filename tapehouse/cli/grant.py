"""`tapehouse db grant`: the rights of roles that ingest and of roles that read."""

from dataclasses import asdict
from typing import Final

import click

from tapehouse.cli.options import database_option, json_option, open_database
from tapehouse.cli.output import Column, print_json, print_table, remark
from tapehouse.errors import InputError

_EPILOG: Final = """\b
Examples:
  tapehouse db grant --reader grafana --reader bot
  tapehouse db grant --ingest worker --url postgresql://owner@db.example.org/market

\b
The owner of the tables runs this; roles are made by the server's administrator, who alone sees
passwords: CREATE ROLE bot LOGIN, then \\password bot. Run it again at any time, and after
`tapehouse db migrate` where it added tables. A reader may read everything and write nothing. An
ingest role may write rows, but neither change tables nor drop them, and only the owner may
refresh rollups, run jobs or change retention.
"""
_COLUMNS: Final = (
    Column("role"),
    Column("for"),
    Column("reads", align="right"),
    Column("writes", align="right"),
    Column("refreshes rollups"),
)


@click.command(epilog=_EPILOG)
@click.option("--ingest", "ingests", multiple=True, metavar="ROLE", help="A role that fetches and writes.")
@click.option("--reader", "readers", multiple=True, metavar="ROLE", help="A role that only reads.")
@database_option
@json_option
def grant(*, ingests: tuple[str, ...], readers: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Give roles the rights they need, and no others.

    Each gets them in the tables there are and in those to come; what else it was allowed in them is taken away.
    """
    if not ingests and not readers:
        raise InputError("Name a role: --ingest ROLE for one that writes, --reader ROLE for one that only reads.")
    if both := set(ingests) & set(readers):
        raise InputError(f"{both.pop()} can't be both: a role that ingests reads too.")

    from tapehouse.store.roles import grant as grant_role
    from tapehouse.store.roles import read_owner

    with open_database(url) as connection:
        owner = read_owner(connection)
        granted = [
            *(grant_role(connection, role, "ingest") for role in ingests),
            *(grant_role(connection, role, "reader") for role in readers),
        ]
    if as_json:
        print_json({"owner": owner.name, "granted": [asdict(one) for one in granted]})
        return
    print_table(_COLUMNS, [(one.role, one.purpose, one.reads, one.writes, one.refreshes) for one in granted])
    if any(one.purpose == "ingest" and not one.refreshes for one in granted):
        remark(
            f"Rollups over what is ingested wait for a `tapehouse refresh` by {owner.name}. To let a role do that too, "
            f"and become {owner.name} with all rights: GRANT {owner.name} TO role WITH INHERIT FALSE, SET TRUE."
        )
