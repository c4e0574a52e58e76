"""`tapehouse trades`: stored trades as a table, or exactly as CSV, JSON or Parquet."""

from datetime import datetime
from pathlib import Path
from typing import Final

import click

from tapehouse.cli.answers import (
    Format,
    export_options,
    fitting_export,
    give,
    remark_on_gaps,
    remark_on_origin,
    rows_option,
    window_options,
)
from tapehouse.cli.options import database_option, require_sensible_range, usable_database

_EPILOG: Final = """\b
Examples:
  tapehouse trades binance BTC/USDT --start 10m
  tapehouse trades binance BTC/USDT --start 1h --format parquet --output trades.parquet
  tapehouse trades kraken BTC/USD --start 1h --json | jq '.trades[-1].price'
"""


@click.command(epilog=_EPILOG)
@click.argument("exchange")
@click.argument("symbol")
@window_options("From when on", "Up to when")
@export_options
@rows_option
@database_option
def trades(
    *,
    exchange: str,
    symbol: str,
    start: datetime,
    end: datetime | None,
    form: Format,
    output: Path | None,
    rows: int,
    url: str | None,
    as_json: bool,
) -> None:
    """Show or export stored trades of a market.

    The side is the taker's: whoever accepted a price that was offered.
    """
    export = fitting_export(form, as_json=as_json, output=output, rows=rows)
    require_sensible_range(start, end, names=("--start", "--end"))

    from tapehouse.query.market import MarketData

    with MarketData.connect(usable_database(url)) as market:
        frame = market.trades(exchange, symbol, start, end)
    give(frame, export, noun="trades")
    if export.form == "table":
        remark_on_origin(frame.attrs, noun="trades")
        remark_on_gaps(frame.attrs)
