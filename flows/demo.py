"""The whole path on this machine: `python -m flows.demo`, which is what `make demo` runs.

An embedded TimescaleDB and a sandbox exchange are started, the flows run, the library reads
back what they stored, and everything is stopped again. What a flow does is its own module's
business; nothing here is needed elsewhere.
"""

import asyncio
import os
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import pandas as pd

from tapehouse import embedded
from tapehouse.chart import save_candlesticks
from tapehouse.cli.frames import print_frame
from tapehouse.cli.output import Column, print_table, records
from tapehouse.config import DATABASE_URL, EXCHANGE_URL
from tapehouse.errors import TapehouseError
from tapehouse.query.market import MarketData
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate
from tapehouse.store.quarantine import QuarantinedRow, read_quarantine
from tapehouse.store.rollups import ROLLUPS

if TYPE_CHECKING:
    from tasks.report import SeriesReport

_HOME: Final = Path(__file__).parents[1] / ".tapehouse"
_CHART: Final = _HOME / "demo-chart.png"
_SEED: Final = 7
_DAYS: Final = 7
_SYMBOLS: Final = {
    "binance": ["BTC/USDT", "ETH/USDT", "SOL/USDT"],
    "binanceusdm": ["BTC/USDT:USDT"],
    "kraken": ["BTC/USD"],
}
# What an ad-hoc run needs of Prefect: a server of its own for a minute, quick and quiet.
_PREFECT: Final = {
    "PREFECT_HOME": str(_HOME / "prefect"),
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    # The first start makes the server's own database, which takes a slow machine its time.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
_WORDS: Final = ("exchange", "symbol", "first", "last")
_NEXT: Final = (
    (
        "A real exchange, into a database that stays (needs the internet)",
        ".venv/bin/tapehouse db up && .venv/bin/tapehouse ingest ohlcv --exchange binance --symbol BTC/USDT --since 7d",
    ),
    ("What came, hour by hour", ".venv/bin/tapehouse candles binance BTC/USDT 1h --start 2d"),
    ("The same as a flow, for another exchange", ".venv/bin/python -m flows.ingest_ohlcv kraken BTC/USD"),
)


def main() -> None:
    """Run the demo; ends the process with 130 on Ctrl-C, and with an error's own code."""
    began_s = time.monotonic()
    try:
        with ExitStack() as stack:
            _run(stack)
    except KeyboardInterrupt:
        click.echo("\nStopped, and all that was started with it.", err=True)
        sys.exit(130)
    except TapehouseError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    _tell_next(time.monotonic() - began_s)


def _run(stack: ExitStack) -> None:
    with _step("Embedded TimescaleDB"):
        url = _start_database(stack)
    with _step("Sandbox exchange (invented markets, real HTTP)"):
        sandbox = stack.enter_context(Sandbox(generated_markets(seed=_SEED)))
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.update(_PREFECT, **{DATABASE_URL: url, EXCHANGE_URL: sandbox.url})
    with connect(url) as connection:
        if not read_quarantine(connection, at_most=1):
            _spoil_some_rows(sandbox)
        reports = asyncio.run(_run_flows())
        _show_pulled(reports)
        _show_rejected(read_quarantine(connection, at_most=10))
    with MarketData.connect(url) as market:
        _show_stored(market)
        _show_candles(market)
        _draw_chart(market)


def _start_database(stack: ExitStack) -> str:
    data_dir = _HOME / "demo"
    status = embedded.status(data_dir)
    if not status.running:
        status = stack.enter_context(embedded.running(data_dir))
    url = status.url or ""
    with connect(url) as connection:
        migrate(connection)
    return url


async def _run_flows() -> "list[SeriesReport]":
    with _step("Prefect"):
        from flows.ingest_ohlcv import Markets, ingest_ohlcv
        from flows.refresh_rollups import refresh_rollups
        from flows.sync_instruments import sync_instruments
    with _step("Flow sync_instruments (starts a Prefect server for the run)"):
        await sync_instruments(list(_SYMBOLS))
    markets = [Markets(exchange=exchange, symbols=symbols) for exchange, symbols in _SYMBOLS.items()]
    with _step(f"Flow ingest_ohlcv ({_DAYS} days of 1m candles)"):
        reports = await ingest_ohlcv(markets, since=f"{_DAYS}d")
    with _step("Flow refresh_rollups"):
        await refresh_rollups()
    return reports


def _spoil_some_rows(sandbox: Sandbox) -> None:
    """Make the sandbox send a few impossible candles, on the first day of those asked for."""
    opened = (datetime.now(UTC) - timedelta(days=_DAYS)).replace(minute=0) + timedelta(hours=6)
    start_ms = int(opened.timestamp()) // 60 * 60_000
    end_ms = start_ms + 2 * 60_000
    sandbox.faults.add(Fault("high_below_low", symbol="BTC/USDT", start_ms=start_ms, end_ms=end_ms))
    sandbox.faults.add(Fault("negative_volume", symbol="ETH/USDT", start_ms=start_ms, end_ms=end_ms))
    sandbox.faults.add(Fault("null_price", symbol="SOL/USDT", start_ms=start_ms, end_ms=end_ms))


@contextmanager
def _step(what: str) -> Generator[None]:
    began_s = time.monotonic()
    yield
    click.echo(f"  {click.style('✓', fg='green')} {what:<62}{time.monotonic() - began_s:5.1f} s")


def _heading(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")


def _show_pulled(reports: "Sequence[SeriesReport]") -> None:
    _heading("Pulled in this run")
    counts = ("fetched", "inserted", "changed", "unchanged", "rejected", "refused")
    print_table(
        [Column("exchange"), Column("symbol"), *(Column(name, align="right") for name in counts)],
        [[one.exchange, one.symbol, *(getattr(one.done, name) for name in counts)] for one in reports],
    )
    if any(one.done.refused for one in reports):
        click.echo("Refused: Kraken keeps only its last 720 candles of any timeframe, whatever is asked for.")


def _show_rejected(rows: "Sequence[QuarantinedRow]") -> None:
    if not rows:
        return
    _heading("In quarantine: rejected rows as they came, to be asked for again")
    print_table(
        [Column("exchange"), Column("symbol"), Column("time (UTC)"), Column("failed"), Column("row", wraps=True)],
        [[one.exchange, one.symbol, one.time, ", ".join(one.reasons), str(one.raw)] for one in rows],
    )


def _show_stored(market: MarketData) -> None:
    _heading("Stored, and what the rollups make of it (candles that can be read)")
    stored = records(market.coverage())
    columns = ["exchange", "symbol", "first", "last", "gaps", "1m"]
    print_table(
        [Column(name, align="left" if name in _WORDS else "right") for name in (*columns, *map(str, ROLLUPS))],
        [
            [
                *(one[name] for name in ("exchange", "symbol", "first", "last", "gaps", "rows")),
                *(len(_candles(market, one["exchange"], one["symbol"], str(rollup))) for rollup in ROLLUPS),
            ]
            for one in stored
        ],
    )


def _show_candles(market: MarketData) -> None:
    for timeframe, rows in (("1m", 5), ("1h", 5), ("1d", 5)):
        candles = _candles(market, "binance", "BTC/USDT", timeframe)
        _heading(f"binance BTC/USDT {timeframe}: the last {rows} of {len(candles):,} ({candles.attrs['source']})")
        print_frame(candles, rows=rows)


def _draw_chart(market: MarketData) -> None:
    candles = _candles(market, "binance", "BTC/USDT", "1h")
    save_candlesticks(candles, _CHART, title="binance BTC/USDT 1h (invented by the sandbox exchange)")
    click.echo(f"Chart of the 1h candles: {_relative(_CHART)}")


def _candles(market: MarketData, exchange: str, symbol: str, timeframe: str) -> pd.DataFrame:
    return market.candles(exchange, symbol, timeframe, datetime.now(UTC) - timedelta(days=_DAYS))


def _tell_next(seconds: float) -> None:
    _heading(f"Done in {seconds:.0f} s; all that was started is stopped again. Try next:")
    for what, command in _NEXT:
        click.echo(f"  {click.style(f'# {what}', dim=True)}\n  {command}")


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()
