"""`tapehouse quality`: how good stored series are, day by day, and what is wrong with them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from tapehouse.cli.options import (
    database_option,
    json_option,
    moment_option,
    open_database,
    require_sensible_range,
)
from tapehouse.cli.output import Column, nothing_stored, print_json, print_table, remark
from tapehouse.cli.venue import require_exchange_name
from tapehouse.errors import InputError, UnknownSeries

if TYPE_CHECKING:
    from tapehouse.quality import Finding, ReportedDay
    from tapehouse.store.instruments import Dataset

# Of days and of findings; a year of hundreds of series has more.
_MOST_SHOWN: Final = 200
_EPILOG: Final = """\b
Examples:
  tapehouse quality
  tapehouse quality --exchange binance --symbol BTC/USDT --start 7d
  tapehouse quality --dataset ohlcv --timeframe 1h --start 2025-05-01 --end 2025-05-08
  tapehouse quality --stale-bars 30 --outlier-ranges 10
  tapehouse quality --json

\b
The score is 100 x the share that is known of what was to be fetched x the share of rows that were not
rejected x the share of minutes whose candles agree with the trades x the share of bars, or snapshots,
with nothing suspicious about their prices. It is rounded down: 100 says that nothing was found.

\b
Findings:
  gap           not known: see `tapehouse gaps`, or, of order books, not sampled
  rejected      failed validation: see `tapehouse quarantine`
  disagreement  minutes whose candle differs from the trades: see `tapehouse compare`
  stale         flat bars in a row at one price while trades were made at others, or, where no trades
                are stored, unlike the market and while it moved elsewhere; order books whose best
                levels stayed the same while trades were made
  outlier       a bar that jumps away and back, by 20 times the range of its neighbours and 1 %, unless
                trades were made at such prices
  crossed       an order book whose best bid is above its best ask; locked where they are equal

\b
Left out is what a market's exchange does not have: before its listing, after its delisting, and history
that the exchange no longer gives. `tapehouse gaps` shows it. A day that is not over is compared with none.

\b
What is found is kept, a row a series and UTC day, in the table quality; the exit code is 0 whatever it is.
"""
_COLUMNS: Final = (
    Column("exchange"),
    Column("symbol"),
    Column("dataset"),
    Column("day (UTC)"),
    Column("score", align="right"),
    Column("since the day before"),
    Column("known", align="right"),
    *(
        Column(name, align="right")
        for name in ("rows", "gaps", "rejected", "differing", "stale", "outliers", "crossed")
    ),
)
_FINDING_COLUMNS: Final = (
    Column("exchange"),
    Column("symbol"),
    Column("dataset"),
    Column("finding"),
    Column("from (UTC)"),
    Column("to (UTC)"),
    Column("count", align="right"),
    Column("detail"),
)


def _threshold_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for each of the thresholds."""
    for option in reversed(_THRESHOLD_OPTIONS):
        command = option(command)
    return command


def _threshold(name: str, default: float, least: float, help_text: str) -> Callable[[Any], Any]:
    kind = click.IntRange(min=int(least)) if isinstance(default, int) else click.FloatRange(min=least)
    return click.option(f"--{name}", type=kind, default=default, show_default=True, metavar="NUMBER", help=help_text)


# Those of tapehouse.quality.rules.Thresholds, which would load numpy.
_THRESHOLD_OPTIONS: Final = (
    _threshold("stale-bars", 10, 2, "Flat bars in a row that are looked at."),
    _threshold("stale-odds", 1e-9, 1e-300, "Without trades: how unlikely they must be."),
    _threshold("stale-move", 0.001, 0, "And by what share the price moved elsewhere."),
    _threshold("outlier-ranges", 20.0, 0, "Ranges of its neighbours that an outlier jumps by."),
    _threshold("outlier-move", 0.01, 0, "And by what share of the price."),
    _threshold("still-book-s", 60.0, 0, "Seconds that a book stays the same."),
    _threshold("still-book-trades", 3, 1, "While so many trades are made."),
)


@click.command(epilog=_EPILOG)
@click.option("--exchange", metavar="NAME", help="Only series of this exchange.")
@click.option("--symbol", metavar="SYMBOL", help="Only series of this symbol.")
@click.option(
    "--dataset", type=click.Choice(["ohlcv", "trade", "order_book"]), help="Only candles, trades, or order books."
)
@click.option("--timeframe", metavar="NAME", help="Only candles of this length: 1m, 1h...")
@click.option(
    "--start",
    type=moment_option,
    default="1d",
    show_default=True,
    metavar="TIME",
    help="The first UTC day: 7d (ago), a date, or ISO 8601 with zone.",
)
@click.option("--end", type=moment_option, metavar="TIME", help="Up to when; by default now.")
@_threshold_options
@database_option
@json_option
def quality(
    *,
    exchange: str | None,
    symbol: str | None,
    dataset: "Dataset | None",
    timeframe: str | None,
    start: datetime,
    end: datetime | None,
    url: str | None,
    as_json: bool,
    **thresholds: Any,  # noqa: ANN401 -- a number each
) -> None:
    """Report how good stored series are, day by day.

    What is missing, rejected, contradicted by trades, or suspicious; a score of 0 to 100; and what has
    changed since the day before.
    """
    require_sensible_range(start, end, names=("--start", "--end"))
    if timeframe and dataset not in (None, "ohlcv"):
        raise InputError("Trades and order books have no timeframe: leave --timeframe or --dataset out.")

    from tapehouse.quality import Thresholds, report_quality
    from tapehouse.store.instruments import list_any_series
    from tapehouse.timeframe import timeframe as timeframe_named

    length = timeframe_named(timeframe) if timeframe else None
    with open_database(url) as connection:
        found = report_quality(
            connection,
            exchange=exchange,
            symbol=symbol,
            dataset=dataset,
            timeframe=length,
            start=start,
            end=end or datetime.now(UTC),
            thresholds=Thresholds(**thresholds),
        )
        datasets: list[Dataset] = [dataset] if dataset else ["ohlcv", "trade", "order_book"]
        is_stored = bool(found) or bool(
            list_any_series(connection, datasets, exchange=exchange, symbol=symbol, timeframe=length)
        )
    if not is_stored:
        require_exchange_name(exchange)
        if any((exchange, symbol, dataset, timeframe)):
            raise UnknownSeries(nothing_stored(exchange, symbol, dataset, timeframe))
    if as_json:
        print_json({"days": [one.record() for one in found]})
    elif found:
        _show(found)
    else:
        remark("Nothing was to be fetched on those days." if is_stored else nothing_stored())


def _show(found: "Sequence[ReportedDay]") -> None:
    print_table(_COLUMNS, map(_row, found[-_MOST_SHOWN:]))
    if len(found) > _MOST_SHOWN:
        remark(f"The last {_MOST_SHOWN} of {len(found):,} days: --json lists them all.")
    rows = [[*_place(day)[:3], *_finding(one)] for day in found for one in day.quality.findings]
    if rows:
        click.echo()
        print_table(_FINDING_COLUMNS, rows[:_MOST_SHOWN])
    if len(rows) > _MOST_SHOWN:
        remark(f"... and {len(rows) - _MOST_SHOWN:,} findings more: --json lists them all.")


def _place(day: "ReportedDay") -> list[object]:
    one = day.quality
    return [one.exchange, one.symbol, f"{one.dataset} {one.timeframe or ''}".rstrip(), f"{one.day:%Y-%m-%d}"]


def _row(day: "ReportedDay") -> list[object]:
    one = day.quality
    is_minutes = one.compared > 0
    counts = [one.rows, one.gaps, one.rejected, one.differing if is_minutes else None, one.stale, one.outliers]
    crossed = one.crossed if one.dataset == "order_book" else None
    return [*_place(day), f"{one.score:.2f}", day.changes_text, f"{one.completeness:.2%}", *counts, crossed]


def _finding(one: "Finding") -> list[object]:
    return [one.kind, one.start, one.end, one.count, one.detail]
