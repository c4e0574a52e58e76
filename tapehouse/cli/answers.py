"""Options and answers of the commands that show stored data or write it out: a table, CSV, JSON or Parquet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from tapehouse.cli.options import Command, json_option, moment_option
from tapehouse.cli.output import remark, utc_text
from tapehouse.config import ARCHIVE, settings_from_environment
from tapehouse.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["table", "csv", "json", "parquet"]

_RANGES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Export:
    """How to give an answer: in which format, to stdout or to a file, and the most rows of a table."""

    form: Format
    output: Path | None
    rows: int


def window_options(first: str, last: str) -> Callable[[Command], Command]:
    """Add --start and --end; `first` and `last` say what they bound."""

    def add(command: Command) -> Command:
        command = click.option("--end", type=moment_option, metavar="TIME", help=f"{last}; by default now.")(command)
        return click.option(
            "--start",
            required=True,
            type=moment_option,
            metavar="TIME",
            help=f"{first}: 7d (ago), a date, or ISO 8601 with zone.",
        )(command)

    return add


def export_options(command: Command) -> Command:
    """Add --format, --output and --json."""
    command = json_option(command)
    command = click.option(
        "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to a file instead of stdout."
    )(command)
    return click.option(
        "--format",
        "form",
        type=click.Choice(("table", "csv", "json", "parquet")),
        default="table",
        show_default=True,
        help="A table is for people; the others are complete and exact.",
    )(command)


def rows_option(command: Command) -> Command:
    """Add --rows."""
    return click.option(
        "--rows", type=click.IntRange(min=1), default=20, show_default=True, help="The most rows of a table, the last."
    )(command)


def fitting_export(form: Format, *, as_json: bool, output: Path | None, rows: int) -> Export:
    """What those options ask for together; raises InputError where they don't fit each other."""
    if as_json and form not in ("table", "json"):
        raise InputError(f"--json and --format {form} exclude each other: choose one.")
    form = "json" if as_json else form
    if form == "parquet" and output is None:
        raise InputError("Parquet is a binary format: name a file with --output FILE.")
    if form == "table" and output is not None:
        raise InputError("A table is for the terminal: choose --format csv, json or parquet for a file.")
    return Export(form, output, rows)


def give(
    frame: "pd.DataFrame", export: Export, *, noun: str, shown: "Callable[[pd.DataFrame], pd.DataFrame] | None" = None
) -> None:
    """Print the frame or write it to the file; `noun` names its rows, and `shown` makes of it what a table shows."""
    if export.output is not None:
        _save(frame, export.form, export.output, noun)
        return
    from tapehouse.cli.frames import print_csv, print_frame, print_frame_json

    match export.form:
        case "csv":
            print_csv(frame)
        case "json":
            print_frame_json(frame, noun)
        case _:
            print_frame(shown(frame) if shown else frame, rows=export.rows)
            if len(frame) > export.rows:
                remark(f"The last {export.rows} of {len(frame):,} {noun}: --rows shows more, --format csv all of them.")


def remark_on_origin(attrs: Mapping[Any, Any], *, noun: str) -> None:
    """Say so if the rows came from the sandbox."""
    if attrs["from_sandbox"]:
        remark(f"These {noun} came from the sandbox, not from the exchange.")


def remark_on_gaps(attrs: Mapping[Any, Any]) -> None:
    """Say which gaps there are, and apart from them what retention has dropped and no archive gave."""
    gaps = [(datetime.fromisoformat(start), datetime.fromisoformat(end)) for start, end in attrs["gaps"]]
    if attrs["dropped_before"]:
        dropped_before = datetime.fromisoformat(attrs["dropped_before"])
        held = "the archive does not hold all of it"
        if settings_from_environment().archive is None:
            held = f"what of it was archived is read where {ARCHIVE} names the archive's folder"
        remark(f"Retention has dropped what was before {utc_text(dropped_before)} UTC: {held}.")
        gaps = [(max(start, dropped_before), end) for start, end in gaps if end > dropped_before]
    remark_on_ranges("Gap", [(start.isoformat(), end.isoformat()) for start, end in gaps])


def remark_on_ranges(name: str, ranges: Sequence[Sequence[str]]) -> None:
    """Say which ranges of that name there are, as attrs have them; the first few."""
    for start, end in ranges[:_RANGES_SHOWN]:
        remark(f"{name}: {utc_text(datetime.fromisoformat(start))} to {utc_text(datetime.fromisoformat(end))} UTC.")
    if len(ranges) > _RANGES_SHOWN:
        remark(f"... and {len(ranges) - _RANGES_SHOWN} more: --json lists them.")


def _save(frame: "pd.DataFrame", form: Format, path: Path, noun: str) -> None:
    from tapehouse.cli.frames import save_csv, save_json, save_parquet

    match form:
        case "csv":
            save_csv(frame, path)
        case "json":
            save_json(frame, path, noun)
        case _:
            save_parquet(frame, path)
    remark(f"{len(frame):,} {noun} written to {path}.")
