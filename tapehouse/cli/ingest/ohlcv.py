"""`tapehouse ingest ohlcv`: candles of a range."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.ingest.markets import distinct_symbols, market_options
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

if TYPE_CHECKING:
    from tapehouse.timeframe import Timeframe

_EPILOG: Final = """\b
Examples:
  tapehouse ingest ohlcv --exchange binance --symbol BTC/USDT --timeframe 1m --since 7d
  tapehouse ingest ohlcv --exchange kraken --symbol BTC/USD,ETH/USD --timeframe 1d --since 2025-05-01
  tapehouse ingest ohlcv --exchange binance --symbol BTC/USDT --since 2025-05-01T12:00:00Z --until 2025-05-02 --json
  tapehouse ingest ohlcv --sandbox --exchange binance --symbol BTC/USDT --since 7d

\b
What is stored already is not asked for again, but for the last few candles, which exchanges
still correct. Stopped or failed, the same command goes on where it was. With several series the
exit code is that of the worst failure, the highest.
"""


@click.command(epilog=_EPILOG)
@market_options
@click.option("--timeframe", default="1m", show_default=True, metavar="NAME", help="1m, 5m, 1h, 1d...")
@range_options("First open time", "Open times before this")
@exchange_options
@database_option
@json_option
def ohlcv(
    *,
    exchange_id: str,
    symbols: tuple[str, ...],
    timeframe: str,
    since: datetime,
    until: datetime | None,
    sandbox: bool,
    exchange_url: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Fetch closed candles of one or more markets of an exchange."""
    require_sensible_range(since, until)
    names = distinct_symbols(symbols)
    length = _timeframe(timeframe)
    database = usable_database(url)

    from tapehouse.ingest import CandleRequest, ingest_batch

    requests = [CandleRequest(name, length, since, until) for name in names]
    fetch_history(
        History({exchange_id: requests}, f"{exchange_id}: {length} candles from {utc_text(since)} UTC on."),
        lambda base_url, watcher: ingest_batch(
            exchange_id, requests, database_url=database, base_url=base_url, watcher=watcher
        ),
        database_url=database,
        sandbox=sandbox,
        exchange_url=exchange_url,
        as_json=as_json,
    )


def _timeframe(name: str) -> "Timeframe":
    from tapehouse.timeframe import timeframe

    return timeframe(name)
