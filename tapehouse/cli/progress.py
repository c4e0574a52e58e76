"""How an ingest gets on, on stderr: bars at a terminal, a line a series elsewhere."""

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tapehouse.cli.output import remark, utc_text
from tapehouse.ingest import IngestPlan, IngestResult, Outcome, SeriesRequest, Watcher
from tapehouse.ingest.sampling import SamplingOutcome

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def progress() -> Generator[Watcher]:
    """A watcher that shows what it is told, in the way that stderr allows."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[counts]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        yield Bars(shown)


@contextmanager
def sampling_progress(ticks: int) -> Generator[Callable[[Sequence[SamplingOutcome]], None]]:
    """What to tell how far the sampling of several markets is, each of so many ticks; a bar, at a terminal alone."""
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("sampling"), BarColumn(bar_width=24), TextColumn("{task.fields[counts]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task("sampling", total=ticks, counts="starting")

        def show(outcomes: Sequence[SamplingOutcome]) -> None:
            done = max((one.ticks for one in outcomes), default=0)
            sampled, missed = sum(one.sampled for one in outcomes), sum(one.missed for one in outcomes)
            shown.update(
                bar, completed=done, counts=f"tick {done:,} of {ticks:,}: {sampled:,} sampled, {missed:,} missed"
            )

        yield show


class Lines:
    """One line when a series is done."""

    def started(self, request: SeriesRequest) -> None:
        """Say nothing: several start at once."""

    def progressed(self, request: SeriesRequest, plan: IngestPlan, result: IngestResult) -> None:
        """Say nothing: a log has no use for every batch."""

    def ended(self, outcome: Outcome) -> None:
        """Say how many rows came, and how fast."""
        done = "failed after" if outcome.error else "done:"
        remark(f"{outcome.request} {done} {outcome.result.fetched:,} rows in {outcome.seconds:.1f} s.")


class Bars:
    """A bar for each series, with rows, rate and the date reached."""

    def __init__(self, shown: "Progress") -> None:
        self._shown = shown
        self._bars: dict[SeriesRequest, TaskID] = {}

    def started(self, request: SeriesRequest) -> None:
        """Add a bar that only pulses until it is known how much there is to fetch."""
        self._bars[request] = self._shown.add_task(str(request), total=None, counts="asking")

    def progressed(self, request: SeriesRequest, plan: IngestPlan, result: IngestResult) -> None:
        """Move the bar on."""
        bar = self._bars[request]
        seconds = self._shown.tasks[self._shown.task_ids.index(bar)].elapsed or 0.0
        rate = f"{result.fetched / seconds:,.0f}/s" if seconds else ""
        self._shown.update(
            bar,
            total=plan.seconds,
            completed=result.seconds,
            counts=f"{result.fetched:>9,} rows {rate:>9}  {utc_text(result.reached)}",
        )

    def ended(self, outcome: Outcome) -> None:
        """Fill the bar, or say that the series failed."""
        bar = self._bars[outcome.request]
        if outcome.error:
            self._shown.update(bar, counts="failed")
        else:
            self._shown.update(bar, total=1, completed=1)


def _say_nothing(outcomes: Sequence[SamplingOutcome]) -> None:
    """A log has no use for a line every few seconds."""
