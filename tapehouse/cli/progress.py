"""How an ingest gets on, on stderr: bars at a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tapehouse.cli.output import remark, utc_text
from tapehouse.ingest import Outcome, Watcher
from tapehouse.ingest.progress import Standing, Tally, length_text
from tapehouse.ingest.sampling import SamplingOutcome

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_EVERY_S: Final = 10.0


@contextmanager
def progress(tally: Tally[Outcome]) -> Generator[Watcher]:
    """A watcher that tells the tally, and shows it in the way that stderr allows."""
    if not sys.stderr.isatty():
        yield Lines(tally)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[counts]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as shown:
        yield Bars(tally, shown)


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
    """A line every few seconds, and one when a series is done."""

    def __init__(self, tally: Tally[Outcome], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally = tally
        self._clock = clock
        self._said_s = clock()

    def started(self, outcome: Outcome) -> None:
        """Say nothing: several start at once."""
        self._tally.tell(outcome)

    def progressed(self, outcome: Outcome) -> None:
        """Say how far all of it is, if nothing was said for a while."""
        self._tally.tell(outcome)
        if self._clock() - self._said_s < _LINE_EVERY_S:
            return
        self._said_s = self._clock()
        for name, standing in _standings(self._tally):
            remark(f"{name} {standing}")

    def ended(self, outcome: Outcome) -> None:
        """Say how many rows came, and how fast."""
        self._tally.tell(outcome)
        done = "failed after" if outcome.error else "done:"
        rows = f"{outcome.result.fetched:,} rows in {outcome.seconds:.1f} s"
        remark(f"{outcome.exchange_id} {outcome.request} {done} {rows}.")


class Bars:
    """A bar for each exchange and, of several, one for all: rows, rate, date reached, time left."""

    def __init__(self, tally: Tally[Outcome], shown: "Progress") -> None:
        self._tally = tally
        self._shown = shown
        self._bars = {name: shown.add_task(name, total=1.0, counts="asking") for name, _ in _standings(tally)}

    def started(self, outcome: Outcome) -> None:
        """Show what there is to show so far."""
        self._show(outcome)

    def progressed(self, outcome: Outcome) -> None:
        """Move the bars on."""
        self._show(outcome)

    def ended(self, outcome: Outcome) -> None:
        """Move the bars on, and name a series that failed."""
        self._show(outcome)
        if outcome.error:
            self._shown.console.print(f"{outcome.exchange_id} {outcome.request} failed.", markup=False, highlight=False)

    def _show(self, outcome: Outcome) -> None:
        self._tally.tell(outcome)
        for name, standing in _standings(self._tally):
            self._shown.update(self._bars[name], completed=standing.share, counts=_counts(standing))


def _standings(tally: Tally[Outcome]) -> list[tuple[str, Standing]]:
    """How far each exchange is and, where there are several, all of it."""
    standings = [(exchange_id, tally.of(exchange_id)) for exchange_id in tally.exchange_ids]
    return standings if len(standings) == 1 else [*standings, ("total", tally.total())]


def _counts(standing: Standing) -> str:
    if not standing.rows:
        return f"{standing.ended} of {standing.series} series"
    rate = "" if standing.rows_per_s is None else f"{standing.rows_per_s:,.0f}/s"
    left = "" if standing.left_s is None else f"{length_text(standing.left_s)} left"
    return f"{standing.rows:,} rows {rate:>8}  {utc_text(standing.reached):16}  {left:>12}"


def _say_nothing(outcomes: Sequence[SamplingOutcome]) -> None:
    """A log has no use for a line every few seconds."""
