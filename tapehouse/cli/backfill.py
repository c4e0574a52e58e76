"""`tapehouse backfill`: long ranges of history, of several exchanges side by side."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.ingest.markets import distinct, distinct_symbols, markets_options
from tapehouse.cli.ingest.series import History, fetch_history
from tapehouse.cli.options import (
    database_option,
    exchange_options,
    json_option,
    range_options,
    require_sensible_range,
    usable_database,
)
from tapehouse.cli.output import utc_text
from tapehouse.errors import InputError

if TYPE_CHECKING:
    from tapehouse.ingest import SeriesRequest

_NAMES: Final = ("--start", "--end")
_EPILOG: Final = """\b
Examples:
  tapehouse backfill --exchange binance --symbol 'BTC/USDT,ETH/USDT' --timeframe 1m --start 2025-05-01 --end 2025-06-01
  tapehouse backfill --exchange binance,okx --symbol BTC/USDT --timeframe 1h,1d --start 52w
  tapehouse backfill --exchange binance --symbol BTC/USDT --dataset trade --start 2h --end 1h
  tapehouse backfill --sandbox --exchange kraken --symbol BTC/USD --timeframe 1d --start 52w --json

\b
Any range does: before, after or between what is stored. What is stored is not asked for again,
and what lies before an exchange's first candle is found by a search and not walked through.
It goes by blocks of 50,000 candles, or 6 hours of trades: the newest block first, each from its
beginning on. Stopped by Ctrl-C or failed, the same command goes on where it was. A range that the
exchange fails to give is noted, and the rest fetched all the same. With several series the exit
code is that of the worst failure, the highest. What retention would drop soon is refused, unless
--force is given: `tapehouse db retention` shows how long what is kept.
"""


@click.command(epilog=_EPILOG)
@markets_options
@click.option(
    "--timeframe",
    "timeframes",
    multiple=True,
    metavar="NAME",
    help="1m, 5m, 1h, 1d...; several with commas or by repeating the option.  [default: 1m]",
)
@click.option(
    "--dataset",
    type=click.Choice(["ohlcv", "trade"]),
    default="ohlcv",
    show_default=True,
    help="Candles, or single trades.",
)
@range_options("From when on", "Up to when", names=_NAMES)
@click.option("--force", is_flag=True, help="Fetch also what retention would drop at its next run.")
@exchange_options
@database_option
@json_option
def backfill(
    *,
    exchange_ids: tuple[str, ...],
    symbols: tuple[str, ...],
    timeframes: tuple[str, ...],
    dataset: str,
    start: datetime,
    end: datetime | None,
    force: bool,
    sandbox: bool,
    exchange_url: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Fetch what is missing of long ranges of history.

    Of every symbol on every exchange that is named; exchanges are asked side by side.
    """
    require_sensible_range(start, end, names=_NAMES)
    exchanges, names = distinct(exchange_ids, what="exchange", example="--exchange binance"), distinct_symbols(symbols)
    what, requests = _requests(names, dataset, timeframes, start, end)
    database = usable_database(url)

    from tapehouse.ingest import Backfill
    from tapehouse.ingest import backfill as run

    of = names[0] if len(names) == 1 else f"{len(names)} symbols"
    span = f"from {utc_text(start)} to {utc_text(end) or 'now'} UTC"
    fetch_history(
        History(dict.fromkeys(exchanges, requests), f"{', '.join(exchanges)}: {what} of {of} {span}."),
        lambda base_url, watcher: run(
            [Backfill(one, requests) for one in exchanges],
            database_url=database,
            base_url=base_url,
            watcher=watcher,
            force=force,
        ),
        database_url=database,
        sandbox=sandbox,
        exchange_url=exchange_url,
        as_json=as_json,
    )


def _requests(
    symbols: Sequence[str], dataset: str, timeframes: Sequence[str], start: datetime, end: datetime | None
) -> "tuple[str, list[SeriesRequest]]":
    """What to fetch of each exchange, and its name for people; raises InputError and UnknownTimeframe."""
    from tapehouse.ingest import CandleRequest, TradeRequest
    from tapehouse.timeframe import timeframe

    if dataset == "trade":
        if timeframes:
            raise InputError("Trades have no timeframe: leave --timeframe out, or --dataset trade.")
        return "trades", [TradeRequest(symbol, start, end) for symbol in symbols]
    lengths = [timeframe(name) for name in distinct(timeframes or ("1m",), what="timeframe", example="--timeframe 1m")]
    requests: list[SeriesRequest] = [
        CandleRequest(symbol, length, start, end) for length in lengths for symbol in symbols
    ]
    return f"{', '.join(map(str, lengths))} candles", requests
