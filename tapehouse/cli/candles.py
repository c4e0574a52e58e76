"""`tapehouse candles`: stored candles as a table, or exactly as CSV, JSON or Parquet."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

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
from tapehouse.cli.output import remark

if TYPE_CHECKING:
    import pandas as pd

    from tapehouse.query.fill import Fill

_EPILOG: Final = """\b
Examples:
  tapehouse candles binance BTC/USDT 1h --start 7d
  tapehouse candles binance BTC/USDT 1m --start 2025-05-01 --end 2025-05-02 --format csv > btc.csv
  tapehouse candles kraken BTC/USD 1d --start 2025-01-01 --format parquet --output btc.parquet
  tapehouse candles binance BTC/USDT 1s --start 10m --source trades --fill empty
  tapehouse candles binance BTC/USDT 15m --start 12h --json | jq '.candles[-1].close'
"""


@click.command(epilog=_EPILOG)
@click.argument("exchange")
@click.argument("symbol")
@click.argument("timeframe")
@window_options("First open time", "Open times before this")
@click.option(
    "--source",
    type=click.Choice(("candles", "trades")),
    default="candles",
    show_default=True,
    help="The exchange's own candles, or those that its trades make.",
)
@click.option(
    "--fill",
    type=click.Choice(("empty", "all")),
    help="Add bars without a candle at the close before: those known to be empty, or all that are missing too.",
)
@export_options
@rows_option
@database_option
def candles(
    *,
    exchange: str,
    symbol: str,
    timeframe: str,
    start: datetime,
    end: datetime | None,
    source: Literal["candles", "trades"],
    fill: "Fill | None",
    form: Format,
    output: Path | None,
    rows: int,
    url: str | None,
    as_json: bool,
) -> None:
    """Show or export stored candles of a market.

    Timeframes that were not ingested are derived from the 1m candles, or from the trades.
    """
    export = fitting_export(form, as_json=as_json, output=output, rows=rows)
    require_sensible_range(start, end, names=("--start", "--end"))
    built = "trades" if source == "trades" else None
    frame = _read(exchange, symbol, timeframe, start, end, source=built, fill=fill, url=url)
    give(frame, export, noun="candles")
    if export.form == "table":
        _remark_on(frame.attrs)


def _read(
    exchange: str,
    symbol: str,
    timeframe: str,
    start: datetime,
    end: datetime | None,
    *,
    source: Literal["trades"] | None,
    fill: "Fill | None",
    url: str | None,
) -> "pd.DataFrame":
    from tapehouse.query.market import MarketData

    with MarketData.connect(usable_database(url)) as market:
        return market.candles(exchange, symbol, timeframe, start, end, source=source, fill=fill)


def _remark_on(attrs: dict[Any, Any]) -> None:
    tables = ", ".join(attrs["read_from"]) or "nothing stored"
    remark(
        f"Source: {attrs['source']} ({tables}). Of {attrs['candles_expected']:,} candles "
        f"{attrs['candles_empty']:,} are empty and {attrs['candles_missing']:,} are missing."
    )
    if attrs.get("candles_filled"):
        remark(f"{attrs['candles_filled']:,} rows are filled: no candle, but the close before.")
    remark_on_origin(attrs, noun="candles")
    remark_on_gaps(attrs)
