"""`tapehouse gaps`: where series have no usable rows, and why; and the options that say of which series."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import click

from tapehouse.cli.options import database_option, json_option, moment_option, require_sensible_range, usable_database
from tapehouse.cli.output import Column, counted, nothing_stored, print_json, print_table, records, remark
from tapehouse.errors import InputError, UnknownSeries, UnknownSymbol
from tapehouse.moments import span_text

Command = TypeVar("Command", bound=Callable[..., Any])
Dataset = Literal["ohlcv", "trade"]

CAUSES: Final = (
    "never_asked",
    "exchange_empty",
    "failed",
    "rejected",
    "before_listing",
    "after_delisting",
    "beyond_exchange_history",
    "more_than_a_page",
)
GAP_COLUMNS: Final = (
    Column("exchange"),
    Column("symbol"),
    Column("dataset"),
    Column("from (UTC)"),
    Column("to (UTC)"),
    Column("length", align="right"),
)
# A year of a market that hardly trades has thousands.
MOST_SHOWN: Final = 1000
_EPILOG: Final = """\b
Examples:
  tapehouse gaps
  tapehouse gaps --exchange binance --symbol BTC/USDT --timeframe 1m
  tapehouse gaps --cause failed --cause rejected --start 7d
  tapehouse gaps --json

\b
Causes:
  never_asked              not fetched, and nothing is known of it
  exchange_empty           fetched, and the exchange had no candle
  failed                   asked for and given up on after retries
  rejected                 what came failed validation: see `tapehouse quarantine`
  before_listing           before the exchange has anything of it
  after_delisting          after a market that is no longer traded was listed last, or after its last
                           row if all up to then was fetched
  beyond_exchange_history  the exchange no longer gives it
  more_than_a_page         more trades at one time than the exchange gives

\b
Without --start and --end each series is looked at from the first to the last moment that was ever to
be fetched, also by a backfill that was stopped before it got there. What retention has dropped is no
gap, and order books, which are sampled, have none. `tapehouse repair` closes what can be closed; before
the next try it asks for nothing again.
"""


def gap_options(command: Command) -> Command:
    """Add --exchange, --symbol, --dataset, --timeframe, --start, --end and --cause: which gaps are meant."""
    for option in reversed(_GAP_OPTIONS):
        command = option(command)
    return command


def require_fitting_dataset(dataset: Dataset | None, timeframe: str | None) -> None:
    """Raise InputError for trades of a timeframe."""
    if dataset == "trade" and timeframe is not None:
        raise InputError("Trades have no timeframe: leave --timeframe out, or --dataset trade.")


def require_gap_range(start: datetime | None, end: datetime | None) -> None:
    """Raise InputError where the start lies ahead, ReversedRange where the end is not after it."""
    if start is not None:
        require_sensible_range(start, end, names=("--start", "--end"))


def remark_on_nothing(*named: str | None) -> None:
    """Say that nothing is stored yet; raises UnknownSeries where nothing is of what was named."""
    if any(named):
        raise UnknownSeries(nothing_stored(*named))
    remark(nothing_stored())


def remark_on_rest(gaps: int) -> None:
    """Say how many gaps a table leaves out."""
    if gaps > MOST_SHOWN:
        remark(f"... and {gaps - MOST_SHOWN:,} more: --json lists them all.")


_GAP_OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option("--exchange", metavar="NAME", help="Only series of this exchange."),
    click.option("--symbol", metavar="SYMBOL", help="Only series of this symbol."),
    click.option("--dataset", type=click.Choice(["ohlcv", "trade"]), help="Only candles, or only trades."),
    click.option("--timeframe", metavar="NAME", help="Only candles of this length: 1m, 1h..."),
    click.option("--start", type=moment_option, metavar="TIME", help="From when on: 7d (ago), a date, or ISO 8601."),
    click.option("--end", type=moment_option, metavar="TIME", help="Up to when, written likewise."),
    click.option(
        "--cause", "causes", type=click.Choice(CAUSES), multiple=True, help="Only this cause; may be repeated."
    ),
)


@click.command(epilog=_EPILOG)
@gap_options
@database_option
@json_option
def gaps(
    *,
    exchange: str | None,
    symbol: str | None,
    dataset: Dataset | None,
    timeframe: str | None,
    start: datetime | None,
    end: datetime | None,
    causes: tuple[str, ...],
    url: str | None,
    as_json: bool,
) -> None:
    """Show where series of candles and trades have gaps, and why."""
    require_gap_range(start, end)
    require_fitting_dataset(dataset, timeframe)

    from tapehouse.query.market import MarketData

    found: list[dict[str, Any]] = []
    is_stored = False
    with MarketData.connect(usable_database(url)) as market, suppress(UnknownSymbol):
        found = records(market.gaps(exchange, symbol, dataset=dataset, timeframe=timeframe, start=start, end=end))
        is_stored = bool(found) or not market.coverage(exchange, symbol).empty
    if not is_stored:
        remark_on_nothing(exchange, symbol, dataset, timeframe)
    chosen = [one for one in found if not causes or one["cause"] in causes]
    if as_json:
        print_json({"gaps": chosen})
    elif chosen:
        columns = (*GAP_COLUMNS, Column("cause"), Column("attempts", align="right"), Column("next try (UTC)"))
        print_table(columns, map(_row, chosen[:MOST_SHOWN]))
        remark_on_rest(len(chosen))
        remark(counts_text(Counter(one["cause"] for one in chosen)))
    elif is_stored:
        remark("No gaps: of what was asked for, everything is there.")


def counts_text(causes: Mapping[str, int]) -> str:
    """How many gaps there are, and of which causes."""
    named = ", ".join(f"{count:,} {cause}" for cause, count in causes.items())
    return f"{counted(sum(causes.values()), 'gap')}: {named}."


def _row(gap: Mapping[str, Any]) -> list[object]:
    what = f"{gap['dataset']} {gap['timeframe']}".rstrip()
    length = span_text(gap["end"] - gap["start"])
    place = [gap["exchange"], gap["symbol"], what, gap["start"], gap["end"], length]
    return [*place, gap["cause"], gap["attempts"] or None, gap["next_try_at"]]
