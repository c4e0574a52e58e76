"""`tapehouse stream`: what an exchange sends of some markets, into the store for as long as it runs."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tapehouse.cli.ingest.markets import distinct, distinct_symbols, market_options
from tapehouse.cli.options import (
    database_option,
    depth_option,
    duration_option,
    exchange_options,
    json_option,
    usable_database,
)
from tapehouse.cli.output import Column, print_json, print_table, remark
from tapehouse.cli.venue import exchange_address
from tapehouse.errors import InputError

if TYPE_CHECKING:
    from tapehouse.store.instruments import Dataset
    from tapehouse.stream import StreamRequest, StreamStatistics

_EPILOG: Final = """\b
Examples:
  tapehouse stream --exchange binance --symbol BTC/USDT,ETH/USDT
  tapehouse stream --exchange binance --symbol BTC/USDT --dataset trades,order-books --every 500ms
  tapehouse stream --exchange kraken --symbol BTC/USD --dataset ohlcv --timeframe 5m --for 1h --json
  tapehouse stream --sandbox --exchange binance --symbol BTC/USDT --for 30s --capture heard

\b
It runs until Ctrl-C or SIGTERM, and then writes all that came. Where a connection breaks it is opened again, and
what was missed is fetched by requests, as is what was missed since the last run, up to a day. While the database is
away trades and candles wait in memory and then on disk, of an order book the newest snapshot. One stream a market is
enough; several write the same rows.

\b
What the table counts: rows received, stored, unchanged since they were stored already (by another stream, or by
a request for what was missed), and rejected; connections and sequences that broke; holes that were found, also where
a connection began, and those of them that requests have filled; how long the oldest row of a write had waited.
"""
_NAMES: Final[dict[str, "Dataset"]] = {"trades": "trade", "order-books": "order_book", "ohlcv": "ohlcv"}
STREAM_COLUMNS: Final = (
    Column("exchange"),
    *(
        Column(name, align="right")
        for name in ("received", "stored", "unchanged", "rejected", "breaks", "holes", "filled")
    ),
    Column("p50 ms lag", align="right"),
    Column("p99 ms lag", align="right"),
)


@click.command(epilog=_EPILOG)
@market_options
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    default=tuple(_NAMES),
    show_default=True,
    metavar="NAME",
    help="trades, order-books, ohlcv; several with commas or by repeating the option.",
)
@click.option("--timeframe", default="1m", show_default=True, metavar="NAME", help="Of the candles: 1m, 5m, 1h...")
@depth_option
@click.option(
    "--every",
    type=duration_option,
    default="1s",
    show_default=True,
    metavar="TIME",
    help="How often an order book is kept at most: 500ms, 1s, 1m.",
)
@click.option("--flush-rows", type=int, default=100, show_default=True, help="Write once so many rows wait.")
@click.option(
    "--flush-every",
    type=duration_option,
    default="5s",
    show_default=True,
    metavar="TIME",
    help="Write at the latest after that time.",
)
@click.option("--most-waiting", type=int, default=50_000, show_default=True, help="The most rows to keep in memory.")
@click.option(
    "--spill",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for what memory can't hold; by default in the data directory.",
)
@click.option(
    "--capture",
    type=click.Path(file_okay=False, path_type=Path),
    help="A folder in which to keep all messages as they come, compressed: `tapehouse replay` streams them again.",
)
@click.option(
    "--heartbeat",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file to renew every 5 seconds, with the statistics as JSON, for who looks after the process.",
)
@click.option("--for", "lasting", type=duration_option, metavar="TIME", help="End after that time: 30s, 1h.")
@exchange_options
@database_option
@json_option
def stream(
    *,
    exchange_id: str,
    symbols: tuple[str, ...],
    datasets: tuple[str, ...],
    timeframe: str,
    depth: int,
    every: timedelta,
    flush_rows: int,
    flush_every: timedelta,
    most_waiting: int,
    spill: Path | None,
    capture: Path | None,
    heartbeat: Path | None,
    lasting: timedelta | None,
    sandbox: bool,
    exchange_url: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Store what an exchange streams of one or more of its markets."""
    from tapehouse.stream import Flushing, run_stream

    if lasting is not None and lasting <= timedelta(0):
        raise InputError("A stream lasts some time: give --for 30s or more, or leave it out.")
    request = _request(exchange_id, symbols, datasets, timeframe, depth, every)
    flushing = Flushing(flush_rows, flush_every, most_waiting)
    database = usable_database(url)
    with exchange_address(exchange_id, sandbox=sandbox, exchange_url=exchange_url) as base_url:
        remark(f"{exchange_id}: streaming {', '.join(request.symbols)}. Ctrl-C ends it.")
        done = run_stream(
            request,
            database_url=database,
            spill_folder=spill,
            base_url=base_url,
            flushing=flushing,
            capture=capture,
            lasting=lasting,
            heartbeat=heartbeat,
            progress=tell_progress,
        )
    if as_json:
        print_json({"exchange": exchange_id, **done.as_json()})
    else:
        print_table(STREAM_COLUMNS, [stream_row(exchange_id, done)], title=f"{exchange_id} streamed")
    if done.spilled:
        remark(f"{done.spilled:,} rows wait on disk for the database: the next stream of {exchange_id} writes them.")


def _request(
    exchange_id: str,
    symbols: tuple[str, ...],
    datasets: tuple[str, ...],
    timeframe_name: str,
    depth: int,
    every: timedelta,
) -> "StreamRequest":
    from tapehouse.stream import StreamRequest
    from tapehouse.timeframe import timeframe

    names = distinct(datasets, what="dataset", example="--dataset trades")
    if unknown := [name for name in names if name not in _NAMES]:
        raise InputError(f"No dataset {unknown[0]!r} can be streamed: use {', '.join(_NAMES)}.")
    return StreamRequest(
        exchange_id,
        distinct_symbols(symbols),
        [_NAMES[name] for name in names],
        timeframe=timeframe(timeframe_name),
        depth=depth,
        every=every,
    )


def tell_progress(statistics: "StreamStatistics") -> None:
    """Say how far it is."""
    if statistics.lags_s:
        remark(str(statistics))


def stream_row(exchange_id: str, done: "StreamStatistics") -> list[object]:
    """The cells of `STREAM_COLUMNS`."""
    lags = [done.lag_percentile_ms(percent) for percent in (50, 99)]
    stored = done.inserted + done.changed
    counts = (done.received, stored, done.unchanged, done.rejected, done.breaks, done.holes, done.filled)
    return [exchange_id, *counts, *("" if lag is None else f"{lag:.1f}" for lag in lags)]
