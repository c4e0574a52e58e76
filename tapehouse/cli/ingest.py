"""`tapehouse ingest`: candles from an exchange into the store."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.failures import report
from tapehouse.cli.options import (
    database_option,
    exchange_options,
    json_option,
    moment_option,
    usable_database,
)
from tapehouse.cli.output import Column, print_json, print_table, remark, utc_text
from tapehouse.cli.venue import exchange_address
from tapehouse.errors import InputError, ReversedRange, TapehouseError

if TYPE_CHECKING:
    from tapehouse.ingest import Outcome
    from tapehouse.ranges import TimeRange
    from tapehouse.timeframe import Timeframe

_COUNTS: Final = ("fetched", "inserted", "changed", "unchanged", "rejected", "refused")
_EPILOG: Final = """\b
Examples:
  tapehouse ingest ohlcv --exchange binance --symbol BTC/USDT --timeframe 1m --since 7d
  tapehouse ingest ohlcv --exchange kraken --symbol BTC/USD,ETH/USD --timeframe 1h --since 2025-05-01
  tapehouse ingest ohlcv --exchange binance --symbol BTC/USDT --since 2025-05-01T12:00:00Z --until 2d --json
  tapehouse ingest ohlcv --sandbox --exchange binance --symbol BTC/USDT --since 7d

\b
What is stored already is not asked for again, but for the last few candles, which exchanges
still correct. Stopped or failed, the same command goes on where it was. With several series the
exit code is that of the worst failure, the highest.
"""


@click.group()
def ingest() -> None:
    """Fetch market data, check it and store it."""


@ingest.command(epilog=_EPILOG)
@click.option("--exchange", "exchange_id", required=True, metavar="NAME", help="The exchange, as ccxt names it.")
@click.option(
    "--symbol",
    "symbols",
    required=True,
    multiple=True,
    metavar="SYMBOL",
    help="BTC/USDT, BTC/USDT:USDT...; several with commas or by repeating the option.",
)
@click.option("--timeframe", default="1m", show_default=True, metavar="NAME", help="1m, 5m, 1h, 1d...")
@click.option(
    "--since",
    required=True,
    type=moment_option,
    metavar="TIME",
    help="First open time: 7d (ago), a date, or ISO 8601 with zone.",
)
@click.option(
    "--until", type=moment_option, metavar="TIME", help="Open times before this; by default the exchange's now."
)
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
    _require_sensible_range(since, until)
    names = _names(symbols)
    # What takes no time to check comes before the slow imports, and so does an answer.
    remark(f"{exchange_id}: {timeframe} candles from {utc_text(since)} UTC on.")
    length = _timeframe(timeframe)
    database = usable_database(url)
    with exchange_address(sandbox=sandbox, exchange_url=exchange_url) as base_url:
        outcomes = _ingest(exchange_id, names, length, since, until, database_url=database, base_url=base_url)
    days: Sequence[TimeRange] = ()
    try:
        days = _refresh_rollups(database, length)
    finally:
        _show(exchange_id, outcomes, days, as_json=as_json)
    _report_failures(outcomes)


def _require_sensible_range(since: datetime, until: datetime | None) -> None:
    if since > datetime.now(UTC):
        raise InputError(f"The start {utc_text(since)} UTC is in the future: no candle has closed since.")
    if until is not None and until <= since:
        raise ReversedRange(f"--since is {utc_text(since)} and --until is {utc_text(until)} UTC: swap them.")


def _names(symbols: Sequence[str]) -> list[str]:
    """The symbols in the order given, none twice."""
    names = dict.fromkeys(name.strip() for given in symbols for name in given.split(",") if name.strip())
    if not names:
        raise InputError("No symbol was given: write --symbol BTC/USDT.")
    return list(names)


def _timeframe(name: str) -> "Timeframe":
    from tapehouse.timeframe import timeframe

    return timeframe(name)


def _ingest(
    exchange_id: str,
    symbols: Sequence[str],
    timeframe: "Timeframe",
    since: datetime,
    until: datetime | None,
    *,
    database_url: str,
    base_url: str | None,
) -> "list[Outcome]":
    from tapehouse.cli.progress import progress
    from tapehouse.ingest import SeriesRequest, ingest_batch

    requests = [SeriesRequest(symbol, timeframe, since, until) for symbol in symbols]
    try:
        with progress() as watcher:
            return ingest_batch(exchange_id, requests, database_url=database_url, base_url=base_url, watcher=watcher)
    except KeyboardInterrupt:
        remark("Stopped. What was committed stays: run the same command again to go on.")
        raise


def _refresh_rollups(database_url: str, timeframe: "Timeframe") -> "Sequence[TimeRange]":
    """The days that the rollups were refreshed over; none if they are not built from these candles."""
    from tapehouse.store.connection import connect
    from tapehouse.store.rollups import BASE_TIMEFRAME, refresh_rollups

    if timeframe != BASE_TIMEFRAME:
        return ()
    with connect(database_url) as connection:
        return refresh_rollups(connection).days


def _show(exchange_id: str, outcomes: "Sequence[Outcome]", days: "Sequence[TimeRange]", *, as_json: bool) -> None:
    if as_json:
        series = [_as_json(exchange_id, one) for one in outcomes]
        print_json({"series": series, "rollups_refreshed": [{"start": start, "end": end} for start, end in days]})
        return
    request = outcomes[0].request
    start, end = _asked(next((one for one in outcomes if one.plan), outcomes[0]))
    title = f"{exchange_id} {request.timeframe} candles, {utc_text(start)} to {utc_text(end) or 'now'} UTC"
    columns = [Column("symbol"), *(Column(name, align="right") for name in (*_COUNTS, "seconds")), Column("")]
    print_table(columns, (_row(one) for one in outcomes), title=title)
    for first, last in days:
        remark(f"Rollups refreshed from {utc_text(first)} to {utc_text(last)} UTC.")


def _report_failures(outcomes: "Sequence[Outcome]") -> None:
    """Say what failed and end with the worst exit code; errors that are not ours are raised as they are."""
    ours: list[TapehouseError] = []
    for one in outcomes:
        if isinstance(one.error, TapehouseError):
            report(one.error, about=one.request.symbol)
            ours.append(one.error)
    for one in outcomes:
        if one.error is not None and not isinstance(one.error, TapehouseError):
            raise one.error
    if ours:
        raise SystemExit(max(error.exit_code for error in ours))


def _row(outcome: "Outcome") -> list[object]:
    counts = [getattr(outcome.result, name) for name in _COUNTS]
    return [outcome.request.symbol, *counts, f"{outcome.seconds:.1f}", "failed" if outcome.error else ""]


def _as_json(exchange_id: str, outcome: "Outcome") -> dict[str, object]:
    start, end = _asked(outcome)
    return {
        "exchange": exchange_id,
        "symbol": outcome.request.symbol,
        "timeframe": outcome.request.timeframe.name,
        "start": start,
        "end": end,
        **{name: getattr(outcome.result, name) for name in _COUNTS},
        "seconds": round(outcome.seconds, 3),
        "error": str(outcome.error) if outcome.error else None,
    }


def _asked(outcome: "Outcome") -> "tuple[datetime, datetime | None]":
    """The range asked for, in whole candles where it came to a plan."""
    return outcome.plan.wanted if outcome.plan else (outcome.request.start, outcome.request.end)
