"""`tapehouse ingest trades`: the single trades of a range."""

from datetime import datetime
from typing import Final

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

_EPILOG: Final = """\b
Examples:
  tapehouse ingest trades --exchange binance --symbol BTC/USDT --since 1h
  tapehouse ingest trades --exchange kraken --symbol BTC/USD,ETH/USD --since 30m --json
  tapehouse ingest trades --exchange binance --symbol ETH/USDT --since 2025-05-01 --until 2025-05-01T01:00:00Z
  tapehouse ingest trades --sandbox --exchange kraken --symbol BTC/USD --since 1h

\b
Some exchanges give their recent trades only, whatever is asked for: what lies before is counted
as refused, and shows as a gap. What is stored already is not asked for again, but for the last
ten seconds. Candles of 1s and 1m built from the trades, and features, are brought up to date
afterwards. With several markets the exit code is that of the worst failure, the highest.
"""


@click.command(epilog=_EPILOG)
@market_options
@range_options("From when on", "Up to when")
@exchange_options
@database_option
@json_option
def trades(
    *,
    exchange_id: str,
    symbols: tuple[str, ...],
    since: datetime,
    until: datetime | None,
    sandbox: bool,
    exchange_url: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Fetch the trades of one or more markets of an exchange."""
    require_sensible_range(since, until)
    names = distinct_symbols(symbols)
    database = usable_database(url)

    from tapehouse.ingest import TradeRequest, ingest_batch

    requests = [TradeRequest(name, since, until) for name in names]
    fetch_history(
        History({exchange_id: requests}, f"{exchange_id}: trades from {utc_text(since)} UTC on."),
        lambda base_url, watcher: ingest_batch(
            exchange_id, requests, database_url=database, base_url=base_url, watcher=watcher
        ),
        database_url=database,
        sandbox=sandbox,
        exchange_url=exchange_url,
        as_json=as_json,
    )
