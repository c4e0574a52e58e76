"""`tapehouse db`: the embedded database (up, down, reset), and what can be asked of any (url, status, migrate).

Its `retention` and `maintain` are next door.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.agreement import require_yes
from tapehouse.cli.maintain import maintain
from tapehouse.cli.options import database_option, json_option
from tapehouse.cli.output import print_json, print_pairs, remark
from tapehouse.cli.retention import retention
from tapehouse.config import DATABASE_URL, settings_from_environment

if TYPE_CHECKING:
    from tapehouse.store.migrate import Migration

_PASSWORD_IN_URL: Final = re.compile(r"(://[^:/?#@]*:)[^@/?#]*@")
# As an option of a URL or of a key=value string, where a value may be quoted.
_PASSWORD_OPTION: Final = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)")
_UP_EPILOG: Final = """\b
Examples:
  tapehouse db up
  tapehouse db up --port 5433
  psql "$(tapehouse db url)"

\b
The data is in TAPEHOUSE_DATA_DIR, else in the user's own data folder. It stays when the
database is stopped.
"""
_RESET_EPILOG: Final = """\b
Examples:
  tapehouse db reset
  tapehouse db reset --yes
"""


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """A database as `tapehouse db status` shows it; `url` is without its password."""

    url: str
    server: str
    timescaledb: str | None
    pending_migrations: tuple[str, ...]
    data_dir: Path | None
    pid: int | None
    started_at: datetime | None
    log_path: Path | None


@click.group()
def db() -> None:
    """Start, stop, migrate and show the database."""


@db.command(epilog=_UP_EPILOG)
@click.option("--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1; by default the last one, else any.")
@json_option
def up(*, port: int | None, as_json: bool) -> None:
    """Start the embedded database if it isn't running, and bring its tables up to date."""
    from tapehouse import embedded

    remark("Starting the embedded database (the first time, its engine is downloaded).")
    status = embedded.start(settings_from_environment().data_dir, port=port)
    url = status.url or ""
    applied = _migrate(url)
    if as_json:
        print_json({"url": masked(url), "applied": applied, "data_dir": status.data_dir, "pid": status.pid})
        return
    click.echo(f"The database is up: {masked(url)}")
    _tell_applied(applied)
    if settings_from_environment().database_url is not None:
        remark(f"{DATABASE_URL} is set: commands use that database, not this one.")
    remark("`tapehouse db url` prints the URL with its password; `tapehouse db down` stops it.")


@db.command(epilog="\b\nExample:\n  tapehouse db down")
def down() -> None:
    """Stop the embedded database; the data stays."""
    from tapehouse import embedded

    stopped = embedded.stop(settings_from_environment().data_dir)
    click.echo("The embedded database is stopped." if stopped else "The embedded database was not running.")


@db.command(epilog='\b\nExamples:\n  psql "$(tapehouse db url)"\n  export TAPEHOUSE_DATABASE_URL="$(tapehouse db url)"')
@database_option
def url(*, url: str | None) -> None:
    """Print the URL of the database that commands use, with its password."""
    from tapehouse.store.address import database_url

    click.echo(database_url(url))


@db.command(
    epilog="\b\nExamples:\n  tapehouse db status\n  tapehouse db status --url postgresql://me@db.example.org/market"
)
@database_option
@json_option
def status(*, url: str | None, as_json: bool) -> None:
    """Show which database commands use, its version, and migrations that it lacks."""
    found = asdict(_status(url))
    if as_json:
        print_json(found)
        return
    found["pending_migrations"] = ", ".join(found["pending_migrations"]) or "none"
    print_pairs(found)


@db.command(
    epilog="\b\nExamples:\n  tapehouse db migrate\n  tapehouse db migrate --url postgresql://owner@db.example.org/market"
)
@database_option
@json_option
def migrate(*, url: str | None, as_json: bool) -> None:
    """Bring the database's tables up to date; does nothing where they are."""
    from tapehouse.store.address import database_url

    applied = _migrate(database_url(url))
    if as_json:
        print_json({"applied": applied})
    else:
        _tell_applied(applied)


@db.command(epilog=_RESET_EPILOG)
@click.option("--yes", is_flag=True, help="Don't ask.")
def reset(*, yes: bool) -> None:
    """Stop the embedded database and delete all of its data."""
    from tapehouse import embedded

    data_dir = settings_from_environment().data_dir
    if not yes:
        require_yes(f"Delete everything stored in {data_dir}?", undone="Nothing was deleted")
    embedded.reset(data_dir)
    click.echo(f"Deleted what was stored in {data_dir}. `tapehouse db up` starts anew.")


db.add_command(retention)
db.add_command(maintain)


def masked(url: str) -> str:
    """A PostgreSQL URL or connection string with its password hidden."""
    return _PASSWORD_OPTION.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1***@", url))


def _migrate(url: str) -> list[str]:
    from tapehouse.store.connection import connect
    from tapehouse.store.migrate import migrate as apply_pending

    with connect(url) as connection:
        return _names(apply_pending(connection))


def _status(given: str | None) -> DatabaseStatus:
    from tapehouse import embedded
    from tapehouse.store.address import database_url
    from tapehouse.store.connection import connect
    from tapehouse.store.migrate import pending_migrations
    from tapehouse.store.server import timescaledb_version

    address = database_url(given)
    local = embedded.status(settings_from_environment().data_dir)
    is_local = local.url == address
    with connect(address) as connection:
        return DatabaseStatus(
            url=masked(address),
            server=f"PostgreSQL {connection.info.server_version // 10_000}",
            timescaledb=timescaledb_version(connection),
            pending_migrations=tuple(_names(pending_migrations(connection))),
            data_dir=local.data_dir if is_local else None,
            pid=local.pid if is_local else None,
            started_at=local.started_at if is_local else None,
            log_path=local.log_path if is_local else None,
        )


def _names(migrations: "Sequence[Migration]") -> list[str]:
    return [migration.name for migration in migrations]


def _tell_applied(applied: Sequence[str]) -> None:
    for name in applied:
        click.echo(f"Applied {name}.")
    if not applied:
        click.echo("All migrations were applied already.")
