"""What a run found, as a table for people and as JSON for programs."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.catalog import BARS
from benchmarks.figure import Figure, Outcome, Skipped

_VERDICTS: Final = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}


@dataclass(frozen=True, slots=True)
class Run:
    """The outcomes of a run, and on what they were found."""

    taken_at: datetime
    engine: str
    is_native: bool
    outcomes: tuple[Outcome, ...]

    def verdict(self, figure: Figure) -> bool | None:
        """Whether the figure meets its bar; None where none is set for it here."""
        bar = BARS.get(figure.key)
        if bar is None or (bar.native_only and not self.is_native):
            return None
        return bar.is_met(figure)


def new_run(engine: str, outcomes: Sequence[Outcome]) -> Run:
    """The run that ends now."""
    return Run(datetime.now(UTC), engine, engine.startswith("native"), tuple(outcomes))


def print_run(run: Run) -> None:
    """Print a table, a row a figure."""
    table = Table(title=f"{run.engine}, {_machine()}", box=box.SIMPLE_HEAD, title_justify="left")
    for title in ("key", "ratio", "spread", "bar", "verdict", "measured", "baseline", "unit", "against"):
        table.add_column(title, justify="right" if title in ("ratio", "measured", "baseline") else "left")
    for outcome in run.outcomes:
        table.add_row(*(_skipped_row(outcome) if isinstance(outcome, Skipped) else _figure_row(run, outcome)))
    Console(width=None if os.isatty(1) else 220).print(table)


def write_run(run: Run, path: Path) -> None:
    """Write the run as one JSON document."""
    document = {
        "taken_at": run.taken_at.isoformat(timespec="seconds"),
        "engine": run.engine,
        "machine": _machine(),
        "figures": [
            {**asdict(outcome), "bar": _bar(outcome.key), "met": run.verdict(outcome)}
            for outcome in run.outcomes
            if isinstance(outcome, Figure)
        ],
        "skipped": [asdict(outcome) for outcome in run.outcomes if isinstance(outcome, Skipped)],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _figure_row(run: Run, figure: Figure) -> tuple[str, ...]:
    low, high = figure.spread
    against = f"{figure.baseline_name}; {figure.note}" if figure.note else figure.baseline_name
    return (
        figure.key,
        f"{figure.ratio:.2f}",
        f"{low:.2f} to {high:.2f}",
        _bar(figure.key),
        _VERDICTS[run.verdict(figure)],
        f"{figure.measured:,.1f}",
        f"{figure.baseline:,.1f}",
        figure.unit,
        against,
    )


def _skipped_row(skipped: Skipped) -> tuple[str, ...]:
    return (skipped.key, "", "", _bar(skipped.key), "skipped", "", "", "", skipped.reason)


def _bar(key: str) -> str:
    bar = BARS.get(key)
    if bar is None:
        return ""
    unit = "" if bar.of == "ratio" else " measured"
    return f"{bar.relation} {bar.limit:g}{unit}{' (native)' if bar.native_only else ''}"


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}"
