"""`tapehouse coverage`: what of which series is stored, and what is missing in between."""

from typing import Any, Final

import click

from tapehouse.cli.options import database_option, json_option, usable_database
from tapehouse.cli.output import Column, print_json, print_table, records, remark, with_origin

_EPILOG: Final = """\b
Examples:
  tapehouse coverage
  tapehouse coverage --exchange binance --symbol BTC/USDT
  tapehouse coverage --json
"""
_COLUMNS: Final = (
    Column("exchange"),
    Column("symbol"),
    Column("dataset"),
    Column("from (UTC)"),
    Column("to (UTC)"),
    Column("rows", align="right"),
    Column("empty", align="right"),
    Column("gaps", align="right"),
    Column("rejected", align="right"),
    Column("origin"),
)
_SHOWN: Final = ("exchange", "symbol", "what", "start", "end", "rows", "empty", "gaps", "rejected", "origin")


@click.command(epilog=_EPILOG)
@click.option("--exchange", metavar="NAME", help="Only series of this exchange.")
@click.option("--symbol", metavar="SYMBOL", help="Only series of this symbol.")
@database_option
@json_option
def coverage(*, exchange: str | None, symbol: str | None, url: str | None, as_json: bool) -> None:
    """Show what was fetched of every series.

    Of candles, trades and order books: from when to when, how many rows, how many intervals without a
    candle, how many gaps.
    """
    from tapehouse.query.market import MarketData

    with MarketData.connect(usable_database(url)) as market:
        found = records(market.coverage(exchange, symbol))
    if as_json:
        print_json({"series": found})
    elif found:
        print_table(_COLUMNS, ([one[name] for name in _SHOWN] for one in map(_shown, found)))
    elif exchange or symbol:
        remark("No such series is stored: `tapehouse coverage` shows all there are.")
    else:
        remark("Nothing is stored yet: `tapehouse ingest ohlcv --help` shows how to begin.")


def _shown(series: dict[str, Any]) -> dict[str, Any]:
    is_candles = series["dataset"] == "ohlcv"
    return with_origin(series) | {
        "what": f"{series['dataset']} {series['timeframe']}" if is_candles else series["dataset"],
        "empty": series["empty"] if is_candles else None,
    }
