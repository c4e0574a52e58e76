"""`tapehouse order-book`: a stored order book as it was at a time."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tapehouse.cli.answers import Format, export_options, fitting_export, give, remark_on_origin
from tapehouse.cli.options import database_option, moment_option, usable_database
from tapehouse.cli.output import remark

if TYPE_CHECKING:
    import pandas as pd

_EPILOG: Final = """\b
Examples:
  tapehouse order-book binance BTC/USDT
  tapehouse order-book binance BTC/USDT --at 1m --depth 5
  tapehouse order-book binance BTC/USDT --json | jq '.levels[0]'
"""


@click.command(name="order-book", epilog=_EPILOG)
@click.argument("exchange")
@click.argument("symbol")
@click.option(
    "--at", type=moment_option, metavar="TIME", help="As it was then: 5m (ago), or ISO 8601 with zone; by default now."
)
@click.option("--depth", type=int, default=20, show_default=True, help="The most levels a side.")
@export_options
@database_option
def order_book(
    *,
    exchange: str,
    symbol: str,
    at: datetime | None,
    depth: int,
    form: Format,
    output: Path | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Show or export a stored order book.

    The last one of a market, or the last one up to a time.
    """
    export = fitting_export(form, as_json=as_json, output=output, rows=depth)

    from tapehouse.query.market import MarketData

    with MarketData.connect(usable_database(url)) as market:
        frame = market.order_book(exchange, symbol, at, depth=depth)
    give(frame, export, noun="levels", shown=_shown)
    if export.form == "table":
        _remark_on(frame.attrs)


def _shown(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The best prices side by side, as traders know it."""
    return frame[["bid_amount", "bid_price", "ask_price", "ask_amount"]]


def _remark_on(attrs: dict[Any, Any]) -> None:
    if attrs["time"] is None:
        remark(f"No order book was stored by {attrs['at']}.")
        return
    remark(f"As it was at {attrs['time']}, received at {attrs['received_at']}.")
    remark_on_origin(attrs, noun="levels")
