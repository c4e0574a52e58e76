"""`tapehouse compare`: whether the exchange's candles agree with its trades."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.options import (
    database_option,
    json_option,
    moment_option,
    open_database,
    require_sensible_range,
)
from tapehouse.cli.output import Column, print_json, print_table, remark
from tapehouse.cli.venue import require_exchange_name

if TYPE_CHECKING:
    from tapehouse.store.agreement import Agreement

_EPILOG: Final = """\b
Examples:
  tapehouse compare
  tapehouse compare --exchange kraken --symbol BTC/USD --start 2d
  tapehouse compare --json

\b
Only minutes of which both were fetched are compared: ingest 1m candles (ohlcv) and trades of the
same time. The outcome is kept, a row a market and UTC day, in the table candle_agreement. The exit
code is 0 also where they differ.
"""
_COUNTS: Final = (
    "minutes",
    "differing",
    "open_differs",
    "high_differs",
    "low_differs",
    "close_differs",
    "volume_differs",
    "without_candle",
    "without_trades",
)
_COLUMNS: Final = (
    Column("exchange"),
    Column("symbol"),
    *(Column(name, align="right") for name in ("minutes", "differing", "open", "high", "low", "close", "volume")),
    Column("no candle", align="right"),
    Column("no trades", align="right"),
    Column("largest gap", align="right"),
)


@click.command(epilog=_EPILOG)
@click.option("--exchange", metavar="NAME", help="Only markets of this exchange.")
@click.option("--symbol", metavar="SYMBOL", help="Only this symbol.")
@click.option(
    "--start",
    type=moment_option,
    default="7d",
    show_default=True,
    metavar="TIME",
    help="The first UTC day: 7d (ago), a date, or ISO 8601 with zone.",
)
@click.option("--end", type=moment_option, metavar="TIME", help="Up to when; by default now.")
@database_option
@json_option
def compare(
    *,
    exchange: str | None,
    symbol: str | None,
    start: datetime,
    end: datetime | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Compare the exchange's candles with its trades.

    Its 1m candles with those that its trades make, which it computes apart: where they differ, one of the
    two is wrong or incomplete.
    """
    require_sensible_range(start, end, names=("--start", "--end"))

    from tapehouse.store.agreement import compare_candles

    with open_database(url) as connection:
        found = compare_candles(connection, exchange=exchange, symbol=symbol, start=start, end=end or datetime.now(UTC))
    if not found:
        require_exchange_name(exchange)
    if as_json:
        print_json({"days": [asdict(one) for one in found]})
    elif found:
        print_table(_COLUMNS, _rows(found))
    else:
        remark("Nothing to compare: ingest 1m candles (ohlcv) and trades of the same time.")


def _rows(found: "Sequence[Agreement]") -> list[list[object]]:
    """A row a market: the sums over its days."""

    def market(one: "Agreement") -> tuple[str, str]:
        return one.exchange, one.symbol

    rows: list[list[object]] = []
    for name, days in groupby(sorted(found, key=market), key=market):
        of_days = list(days)
        counts = [sum(getattr(one, count) for one in of_days) for count in _COUNTS]
        gap = max(one.largest_price_gap for one in of_days)
        rows.append([*name, *counts, f"{gap:.4%}"])
    return rows
