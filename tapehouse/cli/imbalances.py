"""`tapehouse imbalances`: which side of a market is heavier, second by second."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tapehouse.cli.answers import (
    Format,
    export_options,
    fitting_export,
    give,
    remark_on_origin,
    remark_on_ranges,
    rows_option,
    window_options,
)
from tapehouse.cli.options import database_option, require_sensible_range, usable_database

if TYPE_CHECKING:
    import pandas as pd

_EPILOG: Final = """\b
Examples:
  tapehouse imbalances binance BTC/USDT --start 10m
  tapehouse imbalances binance BTC/USDT --start 1h --format csv > imbalances.csv

\b
From -1 to 1: above 0 the bids of the first five levels, or takers who bought, outweigh the
others; over 1, 5, 15 and 60 seconds that end with the row's. Empty where nothing is known.
"""
# More say nothing, and eight columns have to fit.
_DECIMALS_SHOWN: Final = 4


@click.command(epilog=_EPILOG)
@click.argument("exchange")
@click.argument("symbol")
@window_options("From when on", "Up to when")
@export_options
@rows_option
@database_option
def imbalances(
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
    """Show or export imbalances of a market."""
    export = fitting_export(form, as_json=as_json, output=output, rows=rows)
    require_sensible_range(start, end, names=("--start", "--end"))

    from tapehouse.query.market import MarketData

    with MarketData.connect(usable_database(url)) as market:
        frame = market.imbalances(exchange, symbol, start, end)
    give(frame, export, noun="imbalances", shown=_shown)
    if export.form == "table":
        _remark_on(frame.attrs)


def _shown(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.round(_DECIMALS_SHOWN).rename(columns=lambda name: name.replace("_imbalance_", " "))


def _remark_on(attrs: dict[Any, Any]) -> None:
    remark_on_origin(attrs, noun="imbalances")
    for dataset, name in (("order_book", "Order books not sampled"), ("trade", "Trades not fetched")):
        if attrs[dataset]:
            remark_on_ranges(name, attrs[dataset]["gaps"])
    remark_on_ranges("Left out until `tapehouse refresh` computes them anew", attrs["stale"])
