"""What commands print: results on stdout as a table or as JSON, remarks on stderr.

What a command has to say is its module's business, here is only how.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import click

if TYPE_CHECKING:
    import pandas as pd

# Where there is no terminal to fit into, a table gets as wide as its content needs.
_UNBOUNDED_WIDTH: Final = 1000


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column; numbers are put to the right."""

    title: str
    align: Literal["left", "right"] = "left"
    wraps: bool = False


def remark(text: str) -> None:
    """Say something to the person at the terminal: on stderr, so that stdout stays pure."""
    click.echo(text, err=True)


def counted(count: int, one: str) -> str:
    """So many of what one is called: `1 gap`, `1,200 gaps`."""
    return f"{count:,} {one}{'' if count == 1 else 's'}"


def nothing_stored(*named: object) -> str:
    """What to say where no series was found by those names; by none, where they are all None, there is nothing yet."""
    if any(name is not None for name in named):
        return "No such series is stored: `tapehouse coverage` shows all there are."
    return "Nothing is stored yet: `tapehouse ingest ohlcv --help` shows how to begin."


def print_json(value: object) -> None:
    """Print one JSON document; times in ISO 8601, UTC."""
    click.echo(json.dumps(value, indent=2, default=_jsonable, allow_nan=False))


def records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """The rows of a frame as plain Python values, None where there is no value."""
    plain: pd.DataFrame = frame.astype(object).where(frame.notna(), None)
    return cast("list[dict[str, Any]]", plain.to_dict("records"))


def with_origin(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record and, by its `from_sandbox`, its `origin` in a word."""
    return {**record, "origin": "sandbox" if record["from_sandbox"] else "exchange"}


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        title=title,
        title_justify="left",
        title_style="bold",
    )
    for column in columns:
        table.add_column(column.title, justify=column.align, no_wrap=not column.wraps)
    for row in rows:
        table.add_row(*(Text(_readable(value)) for value in row))
    console = Console(width=None if sys.stdout.isatty() else _UNBOUNDED_WIDTH, highlight=False)
    # Not printed by rich, which ends the program in its own way when a pipe is closed.
    with console.capture() as captured:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values below each other, for one thing with many properties; None is left out."""
    # Numbers here are ports and process ids, which nobody groups by thousands.
    shown = {
        name.replace("_", " "): utc_text(value) if isinstance(value, datetime) else str(value)
        for name, value in pairs.items()
        if value is not None
    }
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {value}")


def utc_text(time: datetime | None) -> str:
    """A UTC time as tables show it, to the minute, seconds only where there are some."""
    if time is None:
        return ""
    return f"{time:%Y-%m-%d %H:%M:%S}" if time.second else f"{time:%Y-%m-%d %H:%M}"


def _readable(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    if isinstance(value, datetime):
        return utc_text(value)
    return str(value)


def _jsonable(value: Any) -> object:  # noqa: ANN401 -- whatever json can't write by itself
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
