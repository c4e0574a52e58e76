"""`tapehouse coverage`: what of which series is stored, and what is missing in between."""

from typing import Final

import click

from tapehouse.cli.options import database_option, json_option, usable_database
from tapehouse.cli.output import Column, print_json, print_table, records, remark

_EPILOG: Final = """\b
Examples:
  tapehouse coverage
  tapehouse coverage --exchange binance --symbol BTC/USDT
  tapehouse coverage --json
"""
_COLUMNS: Final = (
    Column("exchange"),
    Column("symbol"),
    Column("timeframe"),
    Column("from (UTC)"),
    Column("to (UTC)"),
    Column("candles", align="right"),
    Column("empty", align="right"),
    Column("gaps", align="right"),
    Column("rejected", align="right"),
)
_SHOWN: Final = ("exchange", "symbol", "timeframe", "start", "end", "rows", "empty", "gaps", "rejected")


@click.command(epilog=_EPILOG)
@click.option("--exchange", metavar="NAME", help="Only series of this exchange.")
@click.option("--symbol", metavar="SYMBOL", help="Only series of this symbol.")
@database_option
@json_option
def coverage(*, exchange: str | None, symbol: str | None, url: str | None, as_json: bool) -> None:
    """Show what was fetched of every series.

    From when to when, how many candles, how many intervals without one, how many gaps.
    """
    from tapehouse.query.market import MarketData

    with MarketData.connect(usable_database(url)) as market:
        found = records(market.coverage(exchange, symbol))
    if as_json:
        print_json({"series": found})
    elif found:
        print_table(_COLUMNS, ([one[name] for name in _SHOWN] for one in found))
    elif exchange or symbol:
        remark("No such series is stored: `tapehouse coverage` shows all there are.")
    else:
        remark("Nothing is stored yet: `tapehouse ingest ohlcv --help` shows how to begin.")
