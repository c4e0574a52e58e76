"""`tapehouse candles`: stored candles as a table, or exactly as CSV, JSON or Parquet."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from tapehouse.cli.options import database_option, json_option, moment_option, usable_database
from tapehouse.cli.output import remark, utc_text
from tapehouse.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["table", "csv", "json", "parquet"]

_GAPS_SHOWN: Final = 5
_EPILOG: Final = """\b
Examples:
  tapehouse candles binance BTC/USDT 1h --start 7d
  tapehouse candles binance BTC/USDT 1m --start 2025-05-01 --end 2025-05-02 --format csv > btc.csv
  tapehouse candles kraken BTC/USD 1d --start 2025-01-01 --format parquet --output btc.parquet
  tapehouse candles binance ETH/USDT 15m --start 12h --json | jq '.candles[-1].close'
"""


@click.command(epilog=_EPILOG)
@click.argument("exchange")
@click.argument("symbol")
@click.argument("timeframe")
@click.option(
    "--start",
    required=True,
    type=moment_option,
    metavar="TIME",
    help="First open time: 7d (ago), a date, or ISO 8601 with zone.",
)
@click.option("--end", type=moment_option, metavar="TIME", help="Open times before this; by default now.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "csv", "json", "parquet")),
    default="table",
    show_default=True,
    help="A table shows the last rows; the others are complete and exact.",
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write to a file instead of stdout.")
@click.option("--rows", type=click.IntRange(min=1), default=20, show_default=True, help="The most rows of a table.")
@database_option
@json_option
def candles(
    *,
    exchange: str,
    symbol: str,
    timeframe: str,
    start: datetime,
    end: datetime | None,
    form: Format,
    output: Path | None,
    rows: int,
    url: str | None,
    as_json: bool,
) -> None:
    """Show or export stored candles of a market.

    Timeframes that were not ingested are derived from the 1m candles.
    """
    if as_json and form not in ("table", "json"):
        raise InputError(f"--json and --format {form} exclude each other: choose one.")
    form = "json" if as_json else form
    _require_fitting_output(form, output)
    frame = _read(exchange, symbol, timeframe, start, end, url=url)
    if output is not None:
        _save(frame, form, output)
    else:
        _print(frame, form, rows=rows)


def _require_fitting_output(form: Format, output: Path | None) -> None:
    if form == "parquet" and output is None:
        raise InputError("Parquet is a binary format: name a file with --output FILE.")
    if form == "table" and output is not None:
        raise InputError("A table is for the terminal: choose --format csv, json or parquet for a file.")


def _read(
    exchange: str, symbol: str, timeframe: str, start: datetime, end: datetime | None, *, url: str | None
) -> "pd.DataFrame":
    from tapehouse.query.market import MarketData

    with MarketData.connect(usable_database(url)) as market:
        return market.candles(exchange, symbol, timeframe, start, end)


def _save(frame: "pd.DataFrame", form: Format, path: Path) -> None:
    from tapehouse.cli.frames import save_csv, save_json, save_parquet

    match form:
        case "csv":
            save_csv(frame, path)
        case "json":
            save_json(frame, path)
        case _:
            save_parquet(frame, path)
    remark(f"{len(frame):,} candles written to {path}.")


def _print(frame: "pd.DataFrame", form: Format, *, rows: int) -> None:
    from tapehouse.cli.frames import print_csv, print_frame, print_frame_json

    match form:
        case "csv":
            print_csv(frame)
        case "json":
            print_frame_json(frame)
        case _:
            print_frame(frame, rows=rows)
            _remark_on(frame, rows=rows)


def _remark_on(frame: "pd.DataFrame", *, rows: int) -> None:
    if len(frame) > rows:
        remark(f"The last {rows} of {len(frame):,} candles: --rows shows more, --format csv all of them.")
    attrs = frame.attrs
    tables = ", ".join(attrs["read_from"]) or "nothing stored"
    remark(
        f"Source: {attrs['source']} ({tables}). Of {attrs['candles_expected']:,} candles "
        f"{attrs['candles_empty']:,} are empty and {attrs['candles_missing']:,} are missing."
    )
    if attrs["from_sandbox"]:
        remark("These candles came from the sandbox, not from the exchange.")
    for start, end in attrs["gaps"][:_GAPS_SHOWN]:
        remark(f"Gap: {utc_text(datetime.fromisoformat(start))} to {utc_text(datetime.fromisoformat(end))} UTC.")
    if len(attrs["gaps"]) > _GAPS_SHOWN:
        remark(f"... and {len(attrs['gaps']) - _GAPS_SHOWN} more gaps: --json lists them.")
