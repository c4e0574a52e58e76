"""Options that several commands share, what their values mean, and opening the database they name."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tapehouse.moments import moment

if TYPE_CHECKING:
    from tapehouse.store.connection import Connection

Command = TypeVar("Command", bound=Callable[..., Any])


def database_option(command: Command) -> Command:
    """Add --url, the database to use."""
    return click.option(
        "--url",
        metavar="URL",
        help="PostgreSQL URL of the database; else TAPEHOUSE_DATABASE_URL, else the running embedded one.",
    )(command)


def json_option(command: Command) -> Command:
    """Add --json, for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(command)


def exchange_options(command: Command) -> Command:
    """Add --sandbox and --exchange-url: which server stands for the exchange."""
    command = click.option(
        "--exchange-url",
        metavar="URL",
        help="Send the exchange's requests through this address (a gateway, a running sandbox); "
        "else TAPEHOUSE_EXCHANGE_URL.",
    )(command)
    return click.option(
        "--sandbox", is_flag=True, help="Ask a local sandbox exchange, started for this command: invented data."
    )(command)


def moment_option(text: str) -> datetime:
    """An option's value as a point in time, see `moment`; "ago" is before this moment."""
    return moment(text, now=datetime.now(UTC))


def usable_database(url: str | None) -> str:
    """The URL of the database to use; raises StoreError where there is none, it refuses, or it lacks migrations."""
    from tapehouse.store.address import database_url

    found = database_url(url)
    with open_database(found):
        return found


@contextmanager
def open_database(url: str | None) -> "Generator[Connection]":
    """A connection to the database to use; raises StoreError as `usable_database` does."""
    from tapehouse.store.address import database_url
    from tapehouse.store.connection import connect
    from tapehouse.store.migrate import require_migrated

    with connect(database_url(url)) as connection:
        require_migrated(connection)
        yield connection
