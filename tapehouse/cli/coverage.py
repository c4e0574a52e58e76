"""`tapehouse coverage`: what of which series is stored and what is missing in between, as a table or as a chart."""

import math
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from tapehouse.cli.options import database_option, json_option, moment_option, open_database, usable_database
from tapehouse.cli.output import Column, nothing_stored, print_json, print_table, records, remark, with_origin
from tapehouse.cli.venue import require_exchange_name
from tapehouse.errors import InputError, ReversedRange, UnknownSeries, UnknownSymbol

_EPILOG: Final = """\b
Examples:
  tapehouse coverage
  tapehouse coverage --exchange binance --symbol BTC/USDT
  tapehouse coverage --json
  tapehouse coverage --chart coverage.html
  tapehouse coverage --exchange binance --chart binance.png --start 2025-01-01
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
    Column("updated", align="right"),
    Column("origin"),
)
_SHOWN: Final = ("exchange", "symbol", "what", "start", "end", "rows", "empty", "gaps", "rejected", "age", "origin")
_AGE_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@click.command(epilog=_EPILOG)
@click.option("--exchange", metavar="NAME", help="Only series of this exchange.")
@click.option("--symbol", metavar="SYMBOL", help="Only series of this symbol.")
@click.option(
    "--chart",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw a lane a series over time into FILE.html or FILE.png instead.",
)
@click.option("--start", type=moment_option, metavar="TIME", help="Where the chart begins; by default with the data.")
@click.option("--end", type=moment_option, metavar="TIME", help="Where the chart ends; by default with the data.")
@database_option
@json_option
def coverage(
    *,
    exchange: str | None,
    symbol: str | None,
    chart: Path | None,
    start: datetime | None,
    end: datetime | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Show what was fetched of every series.

    Of candles, trades and order books: from when to when, how many rows, how many intervals without a
    candle, how many gaps, and how long ago it was last fetched or imported.
    """
    if chart is not None:
        _require_drawable(chart, start, end, as_json=as_json)
        _draw(chart, exchange, symbol, start, end, url=url)
        return
    if start or end:
        raise InputError("--start and --end bound the chart: add --chart FILE.html, or leave them out.")
    found = _read(exchange, symbol, url=url)
    if not found:
        require_exchange_name(exchange)
        if exchange or symbol:
            raise UnknownSeries(nothing_stored(exchange, symbol))
    if as_json:
        print_json({"series": found})
    elif found:
        print_table(_COLUMNS, ([one[name] for name in _SHOWN] for one in map(_shown, found)))
    else:
        remark(nothing_stored())


def _require_drawable(chart: Path, start: datetime | None, end: datetime | None, *, as_json: bool) -> None:
    if as_json:
        raise InputError("--json and --chart exclude each other: choose one.")
    if chart.suffix.lower() not in (".html", ".png"):
        raise InputError(f"{chart} is neither a page nor a picture: name a file that ends in .html or .png.")
    if start and end and end <= start:
        raise ReversedRange("--start is not before --end: swap them.")


def _draw(
    chart: Path,
    exchange: str | None,
    symbol: str | None,
    start: datetime | None,
    end: datetime | None,
    *,
    url: str | None,
) -> None:
    """Draw the chart; raises UnknownSeries, or UnknownExchange, where there is nothing to draw."""
    from tapehouse.cli.frames import save_whole
    from tapehouse.query.timelines import read_lanes

    with open_database(url) as connection:
        lanes = read_lanes(connection, exchange, symbol, start=start, end=end)
    if lanes is None:
        require_exchange_name(exchange)
        raise UnknownSeries(nothing_stored(exchange, symbol))
    if chart.suffix.lower() == ".png":
        from tapehouse.coverage_chart.image import save_image as save
    else:
        from tapehouse.coverage_chart.page import save_page as save
    title = " ".join(["Coverage", *(name for name in (exchange, symbol) if name)])
    save_whole(chart, lambda part: save(lanes, part, title=title))
    remark(f"Chart of {len(lanes.lanes):,} series written to {chart}.")


def _read(exchange: str | None, symbol: str | None, *, url: str | None) -> list[dict[str, Any]]:
    from tapehouse.query.market import MarketData

    with MarketData.connect(usable_database(url)) as market, suppress(UnknownSymbol):
        return records(market.coverage(exchange, symbol))
    return []


def _shown(series: dict[str, Any]) -> dict[str, Any]:
    is_candles = series["dataset"] == "ohlcv"
    return with_origin(series) | {
        "what": f"{series['dataset']} {series['timeframe']}" if is_candles else series["dataset"],
        "empty": series["empty"] if is_candles else None,
        "age": _age(series["age_s"]),
    }


def _age(age_s: float | None) -> str | None:
    """How long ago, in the largest unit of which it has been one."""
    if age_s is None:
        return None
    name, unit_s = next((one for one in _AGE_UNITS if age_s >= one[1]), ("s", 1))
    return f"{math.floor(max(age_s, 0) / unit_s)} {name} ago"
