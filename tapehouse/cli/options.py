"""Options that several commands share, what their values mean, and opening the database they name."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tapehouse.cli.output import utc_text
from tapehouse.errors import InputError, ReversedRange
from tapehouse.moments import duration, moment

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


def depth_option(command: Command) -> Command:
    """Add --depth, how much of an order book is kept."""
    return click.option(
        "--depth", type=int, default=20, show_default=True, help="The most levels a side to keep, 1 to 1000."
    )(command)


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


def range_options(
    first: str, last: str, *, names: tuple[str, str] = ("--since", "--until")
) -> Callable[[Command], Command]:
    """Add --since and --until, or what `names` calls them; `first` and `last` say what they bound."""

    def add(command: Command) -> Command:
        command = click.option(
            names[1], type=moment_option, metavar="TIME", help=f"{last}; by default the exchange's now."
        )(command)
        return click.option(
            names[0],
            required=True,
            type=moment_option,
            metavar="TIME",
            help=f"{first}: 7d (ago), a date, or ISO 8601 with zone.",
        )(command)

    return add


def require_sensible_range(
    start: datetime, end: datetime | None, *, names: tuple[str, str] = ("--since", "--until")
) -> None:
    """Raise InputError where the start lies ahead, ReversedRange where the end is not after it."""
    first, last = names
    if start > datetime.now(UTC):
        raise InputError(f"The start {utc_text(start)} UTC is in the future: {first} must lie in the past.")
    if end is not None and end <= start:
        raise ReversedRange(f"{first} is {utc_text(start)} and {last} is {utc_text(end)} UTC: swap them.")


def moment_option(text: str) -> datetime:
    """An option's value as a point in time, see `moment`; "ago" is before this moment."""
    return moment(text, now=datetime.now(UTC))


def duration_option(text: str) -> timedelta:
    """An option's value as a length of time, see `duration`."""
    return duration(text)


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
