"""`tapehouse repair`: closing gaps."""

import sys
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.derived import Derived, refresh_derived, tell_derived
from tapehouse.cli.failures import report_each
from tapehouse.cli.gaps import (
    GAP_COLUMNS,
    MOST_SHOWN,
    Dataset,
    gap_options,
    remark_on_nothing,
    remark_on_rest,
    require_fitting_dataset,
    require_gap_range,
)
from tapehouse.cli.options import database_option, exchange_options, json_option, open_database, usable_database
from tapehouse.cli.output import Column, counted, print_json, print_table, remark, utc_text
from tapehouse.cli.venue import exchange_address, require_exchange_name
from tapehouse.errors import InputError
from tapehouse.moments import span_text

if TYPE_CHECKING:
    from tapehouse.ingest import ExchangeRepair, FallbackName, Repaired, Treatment
    from tapehouse.store.gaps import Gap

_EPILOG: Final = """\b
Examples:
  tapehouse repair
  tapehouse repair --exchange binance --timeframe 1m --dry-run
  tapehouse repair --exchange kraken --fallback coinbaseexchange
  tapehouse repair --sandbox --exchange binance --symbol BTC/USDT --json

\b
A gap is asked for again, neighbouring ones in one request. What the exchange still does not give is
looked for elsewhere: 1m candles are built from trades, longer ones from 1m candles, where all of
the bar was fetched; then come the exchanges of --fallback, where quote and units agree. Candles that
are not the exchange's own are named in `MarketData.candles(...).attrs["repaired"]`, and give way
to its own as soon as these come. What could not be had waits, the longer the more often it was
tried; `tapehouse gaps` shows until when. What lies before a listing or after a delisting is left alone,
and so are the quiet minutes that some exchanges (coinbase) leave out: --cause exchange_empty asks for these.
The exit code is that of the worst failure, 0 where nothing failed or nothing is due.
"""
_WORDS: Final[Mapping["Treatment", str]] = {
    "ask": "ask the exchange",
    "look_elsewhere": "look elsewhere",
    "wait": "wait",
    "none": "none",
}


@click.command(epilog=_EPILOG)
@gap_options
@click.option(
    "--fallback",
    "fallbacks",
    multiple=True,
    metavar="EXCHANGE[:SYMBOL]",
    help="Fill candles from this exchange where all else fails; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done about each gap.")
@exchange_options
@database_option
@json_option
def repair(
    *,
    exchange: str | None,
    symbol: str | None,
    dataset: Dataset | None,
    timeframe: str | None,
    start: datetime | None,
    end: datetime | None,
    causes: tuple[str, ...],
    fallbacks: tuple[str, ...],
    dry_run: bool,
    sandbox: bool,
    exchange_url: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Close gaps: from the exchange, from other stored data, from another exchange."""
    require_gap_range(start, end)
    require_fitting_dataset(dataset, timeframe)
    names = _fallbacks(fallbacks)
    database = usable_database(url)
    found = _find(database, exchange, symbol, dataset, timeframe, start, end)
    if found is None and not as_json:
        return
    found = found or []
    treated = _treated(found, causes)
    if dry_run:
        _show_plan(treated, as_json=as_json)
        return
    runs: Sequence[ExchangeRepair] = ()
    derived = Derived()
    due = sum(how in ("ask", "look_elsewhere") for _, how in treated)
    if due:
        runs = _repair(found, due, causes, names, database, sandbox=sandbox, exchange_url=exchange_url)
    repaired = [one for run in runs for one in run.repaired]
    try:
        if any(one.sources for one in repaired):
            derived = refresh_derived(database)
    finally:
        _show(repaired, treated, derived, as_json=as_json)
    report_each(failure for run in runs for failure in run.failures().items())


def _fallbacks(texts: Sequence[str]) -> "list[FallbackName]":
    if not texts:
        return []
    from tapehouse.ingest import FallbackName

    names = [FallbackName.parse(text) for text in texts]
    for name in names:
        require_exchange_name(name.exchange_id)
    return names


def _find(
    database_url: str,
    exchange: str | None,
    symbol: str | None,
    dataset: Dataset | None,
    timeframe: str | None,
    start: datetime | None,
    end: datetime | None,
) -> "list[Gap] | None":
    """The gaps; None where nothing is stored at all, and said to be so."""
    from tapehouse.store.gaps import find_gaps
    from tapehouse.store.instruments import list_series
    from tapehouse.timeframe import timeframe as timeframe_named

    length = timeframe_named(timeframe) if timeframe else None
    with open_database(database_url) as connection:
        asked = list_series(connection, exchange=exchange, symbol=symbol, dataset=dataset, timeframe=length)
        if not asked:
            remark_on_nothing(exchange, symbol, dataset, timeframe)
            return None
        return [gap for series in asked for gap in find_gaps(connection, series, start, end)]


def _treated(gaps: "Sequence[Gap]", causes: Sequence[str]) -> "list[tuple[Gap, Treatment]]":
    """The gaps of those causes, by default all, and what a repair of these does now about each."""
    from tapehouse.ingest import treatment_of

    now = datetime.now(UTC)
    meant = (gap for gap in gaps if not causes or gap.cause in causes)
    return [(gap, treatment_of(gap, now=now, causes=causes)) for gap in meant]


def _repair(
    gaps: "Sequence[Gap]",
    due: int,
    causes: Sequence[str],
    fallbacks: "Sequence[FallbackName]",
    database_url: str,
    *,
    sandbox: bool,
    exchange_url: str | None,
) -> "list[ExchangeRepair]":
    from tapehouse.ingest import due_by_exchange, repair_all

    asked = dict.fromkeys([*due_by_exchange(gaps, causes=causes), *(name.exchange_id for name in fallbacks)])
    try:
        with (
            exchange_address(*asked, sandbox=sandbox, exchange_url=exchange_url) as base_url,
            _progress(due) as note,
        ):
            _require_sandbox(gaps, base_url)
            return repair_all(
                gaps,
                causes=causes,
                fallbacks=fallbacks,
                database_url=database_url,
                base_url=base_url,
                progress=note,
            )
    except KeyboardInterrupt:
        remark("Stopped. What was committed stays: run the same command again to go on.")
        raise


def _require_sandbox(gaps: "Sequence[Gap]", base_url: str | None) -> None:
    """Raise InputError rather than ask a real exchange for what the sandbox invented: that would be tried in vain."""
    invented = next((gap.series for gap in gaps if gap.series.instrument.from_sandbox), None)
    if invented is not None and base_url is None:
        raise InputError(f"{invented} came from the sandbox: add --sandbox, or --exchange-url with its address.")


@contextmanager
def _progress(gaps: int) -> "Generator[Callable[[Repaired], None]]":
    """What to tell of each gap that was tried; a bar, at a terminal alone."""
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("repairing gaps"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[at]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task("repairing", total=gaps, at="")
        yield lambda repaired: shown.update(bar, advance=1, at=str(repaired.gap.series))


def _say_nothing(repaired: "Repaired") -> None:
    """A log has no use for a line a gap."""


def _show_plan(treated: "Sequence[tuple[Gap, Treatment]]", *, as_json: bool) -> None:
    if as_json:
        print_json({"gaps": [{**_facts(gap), "treatment": how} for gap, how in treated]})
        return
    columns = (
        *GAP_COLUMNS,
        Column("cause"),
        Column("attempts", align="right"),
        Column("next try (UTC)"),
        Column("plan"),
    )
    if treated:
        shown = treated[:MOST_SHOWN]
        rows = ([*_place(gap), gap.cause, gap.attempts or None, gap.next_try_at, _WORDS[how]] for gap, how in shown)
        print_table(columns, rows)
        remark_on_rest(len(treated))
    remark(_standing(treated))


def _show(
    repaired: "Sequence[Repaired]", treated: "Sequence[tuple[Gap, Treatment]]", derived: Derived, *, as_json: bool
) -> None:
    if as_json:
        print_json({"gaps": [_as_json(one) for one in repaired], **derived.as_json()})
        return
    if repaired:
        columns = (*GAP_COLUMNS, Column("cause"), Column("outcome"), Column("filled from"), Column("left"))
        print_table(columns, map(_row, repaired[:MOST_SHOWN]))
        remark_on_rest(len(repaired))
        outcomes = Counter(one.outcome for one in repaired)
        told = ", ".join(f"{count:,} {name}" for name, count in outcomes.items())
        remark(f"{counted(len(repaired), 'gap')} tried: {told}.")
    else:
        remark(_standing(treated))
    tell_derived(derived, remark)


def _standing(treated: "Sequence[tuple[Gap, Treatment]]") -> str:
    """How many gaps a repair has something to do about, and how many it leaves alone."""
    if not treated:
        return "No gaps: of what was asked for, everything is there."
    counts = Counter(how for _, how in treated)
    due = counts["ask"] + counts["look_elsewhere"]
    said = [f"{due:,} due" if due else "Nothing is due"]
    next_tries = [gap.next_try_at for gap, how in treated if how == "wait" and gap.next_try_at]
    if next_tries:
        said.append(f"{len(next_tries):,} wait for their next try, the first until {utc_text(min(next_tries))} UTC")
    if counts["none"]:
        said.append(f"{counts['none']:,} can't be repaired")
    return f"{', '.join(said)}."


def _row(one: "Repaired") -> list[object]:
    left = ", ".join(dict.fromkeys(gap.cause for gap in one.left))
    return [*_place(one.gap), one.gap.cause, one.outcome, ", ".join(one.sources), left]


def _place(gap: "Gap") -> list[object]:
    what = f"{gap.series.dataset} {gap.series.timeframe_name or ''}".rstrip()
    instrument = gap.series.instrument
    return [instrument.exchange, instrument.symbol, what, gap.start, gap.end, span_text(gap.end - gap.start)]


def _facts(gap: "Gap") -> dict[str, object]:
    instrument = gap.series.instrument
    return {
        "exchange": instrument.exchange,
        "symbol": instrument.symbol,
        "dataset": gap.series.dataset,
        "timeframe": gap.series.timeframe_name or "",
        "start": gap.start,
        "end": gap.end,
        "cause": gap.cause,
        "bars": gap.bars,
        "attempts": gap.attempts,
        "next_try_at": gap.next_try_at,
    }


def _as_json(one: "Repaired") -> dict[str, object]:
    return {
        **_facts(one.gap),
        "outcome": one.outcome,
        "sources": list(one.sources),
        "left": [
            {"start": gap.start, "end": gap.end, "cause": gap.cause, "next_try_at": gap.next_try_at} for gap in one.left
        ],
        "error": str(one.error) if one.error else None,
    }
