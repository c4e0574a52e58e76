"""How an ingest gets on, on stderr: bars at a terminal, a line a series elsewhere."""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tapehouse.cli.output import remark, utc_text
from tapehouse.ingest import CandleIngest, CandlePlan, Outcome, SeriesRequest, Watcher

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


class Lines:
    """One line when a series is done."""

    def started(self, request: SeriesRequest) -> None:
        """Say nothing: several start at once."""

    def progressed(self, request: SeriesRequest, plan: CandlePlan, result: CandleIngest) -> None:
        """Say nothing: a log has no use for every batch."""

    def ended(self, outcome: Outcome) -> None:
        """Say how many candles came, and how fast."""
        done = "failed after" if outcome.error else "done:"
        remark(f"{_name(outcome.request)} {done} {outcome.result.fetched:,} candles in {outcome.seconds:.1f} s.")


class Bars:
    """A bar for each series, with rows, rate and the date reached."""

    def __init__(self, shown: "Progress") -> None:
        self._shown = shown
        self._bars: dict[SeriesRequest, TaskID] = {}

    def started(self, request: SeriesRequest) -> None:
        """Add a bar that only pulses until it is known how much there is to fetch."""
        self._bars[request] = self._shown.add_task(_name(request), total=None, counts="asking")

    def progressed(self, request: SeriesRequest, plan: CandlePlan, result: CandleIngest) -> None:
        """Move the bar on."""
        bar = self._bars[request]
        seconds = self._shown.tasks[self._shown.task_ids.index(bar)].elapsed or 0.0
        rate = f"{result.fetched / seconds:,.0f}/s" if seconds else ""
        self._shown.update(
            bar,
            total=sum(request.timeframe.count(start, end) for start, end in plan.chunks),
            completed=result.fetched,
            counts=f"{result.fetched:>9,} rows {rate:>9}  {utc_text(result.reached)}",
        )

    def ended(self, outcome: Outcome) -> None:
        """Fill the bar, or say that the series failed."""
        bar = self._bars[outcome.request]
        if outcome.error:
            self._shown.update(bar, counts="failed")
        else:
            self._shown.update(bar, total=1, completed=1)


def _name(request: SeriesRequest) -> str:
    return f"{request.symbol} {request.timeframe}"
