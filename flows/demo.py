"""The whole path on this machine: `python -m flows.demo`, which is what `make demo` runs.

An embedded TimescaleDB and a sandbox exchange are started, the flows run, the library reads
back what they stored, and everything is stopped again. What a flow does is its own module's
business; nothing here is needed elsewhere.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import pandas as pd

from flows.shell import step
from tapehouse import embedded
from tapehouse.chart import save_candlesticks
from tapehouse.cli.frames import print_frame
from tapehouse.cli.output import Column, print_table, records
from tapehouse.config import DATABASE_URL, EXCHANGE_URL
from tapehouse.errors import ServiceError, TapehouseError
from tapehouse.query.market import MarketData
from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.store.agreement import Agreement
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
_TRADES_SINCE: Final = "30m"
_BOOKS_LASTING: Final = "5s"
# What a run of a minute needs of Prefect: a server of its own, quick and quiet.
_PREFECT_LOG: Final = _HOME / "prefect.log"
_PREFECT_START_S: Final = 120.0
_PREFECT: Final = {
    "PREFECT_HOME": str(_HOME / "prefect"),
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    # As the servers do that Prefect starts by itself for a single run: no scheduler and its kind.
    "PREFECT__SERVER_EPHEMERAL": "1",
}
_NEXT: Final = """\
  # A real exchange (needs the internet), into a database that stays
  .venv/bin/tapehouse db up
  .venv/bin/tapehouse ingest ohlcv --exchange binance --symbol BTC/USDT --since 7d
  # What came, hour by hour
  .venv/bin/tapehouse candles binance BTC/USDT 1h --start 2d
  # The same as a flow, from another exchange
  .venv/bin/python -m flows.ingest_ohlcv kraken BTC/USD"""


def main() -> None:
    """Run the demo; ends the process with 130 on Ctrl-C, and with an error's own code."""
    began_s = time.monotonic()
    # Ended from outside, it stops what it started just the same.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
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
    # The slowest to start comes first, and is waited for last.
    prefect = stack.enter_context(_starting_prefect())
    with step("Embedded TimescaleDB"):
        url = _start_database(stack)
    with step("Sandbox exchange (invented markets, real HTTP)"):
        sandbox = stack.enter_context(Sandbox(generated_markets(seed=_SEED)))
    os.environ.update({DATABASE_URL: url, EXCHANGE_URL: sandbox.url})
    with connect(url) as connection:
        if not read_quarantine(connection, at_most=1):
            _spoil_some_rows(sandbox)
        reports, agreement = _run_flows(prefect)
        _show_pulled(reports)
        _show_agreement(agreement)
        _show_rejected(read_quarantine(connection, at_most=10))
    with MarketData.connect(url) as market:
        _show_stored(market)
        _show_candles(market)
        _show_ticks(market)
        _draw_chart(market)


@contextmanager
def _starting_prefect() -> Generator["subprocess.Popen[bytes]"]:
    """A Prefect server that is starting, and ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ.update(_PREFECT, PREFECT_API_URL=f"http://127.0.0.1:{port}/api")
    app = ("prefect.server.api.server:create_app", "--factory", "--port", str(port), "--log-level", "error")
    _HOME.mkdir(exist_ok=True)
    with _PREFECT_LOG.open("wb") as log:
        # In a session of its own, so that Ctrl-C reaches it through us alone.
        server = subprocess.Popen(  # noqa: S603 -- our own interpreter
            [sys.executable, "-m", "uvicorn", *app], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield server
    finally:
        # Asked to end it takes five seconds and more; its database outlives being killed.
        server.kill()
        server.wait()


def _await_prefect(server: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + _PREFECT_START_S
    while not _answers(f"{os.environ['PREFECT_API_URL']}/health"):
        if server.poll() is not None or time.monotonic() > deadline_s:
            raise ServiceError(f"The Prefect server did not start: see {_PREFECT_LOG}.")
        time.sleep(0.1)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 -- our own server
            return True
    except OSError:
        return False


def _start_database(stack: ExitStack) -> str:
    data_dir = _HOME / "demo"
    status = embedded.status(data_dir)
    if not status.running:
        status = stack.enter_context(embedded.running(data_dir))
    url = status.url or ""
    with connect(url) as connection:
        migrate(connection)
    return url


def _run_flows(prefect: "subprocess.Popen[bytes]") -> "tuple[list[SeriesReport], list[Agreement]]":
    with step("Prefect server"):
        # Imported here, because Prefect reads its settings when it is imported.
        from flows.compare_candles import compare_candles
        from flows.ingest_ohlcv import CandleMarkets, ingest_ohlcv
        from flows.ingest_order_books import ingest_order_books
        from flows.ingest_trades import ingest_trades
        from flows.markets import Markets
        from flows.refresh_rollups import refresh_rollups
        from flows.sync_instruments import sync_instruments

        _await_prefect(prefect)

    async def run() -> "tuple[list[SeriesReport], list[Agreement]]":
        with step("Flow sync_instruments"):
            await sync_instruments(list(_SYMBOLS))
        markets = [CandleMarkets(exchange=exchange, symbols=symbols) for exchange, symbols in _SYMBOLS.items()]
        with step(f"Flow ingest_ohlcv ({_DAYS} days of 1m candles)"):
            reports = await ingest_ohlcv(markets, since=f"{_DAYS}d")
        trading = [Markets(exchange="binance", symbols=_SYMBOLS["binance"])]
        with step(f"Flow ingest_trades ({_TRADES_SINCE} of trades)"):
            await ingest_trades(trading, since=_TRADES_SINCE)
        with step(f"Flow ingest_order_books (sampled for {_BOOKS_LASTING})"):
            await ingest_order_books(trading, lasting=_BOOKS_LASTING)
        with step("Flow compare_candles (with trades)"):
            agreement = await compare_candles()
        with step("Flow refresh_rollups"):
            await refresh_rollups()
        return reports, agreement

    return asyncio.run(run())


def _spoil_some_rows(sandbox: Sandbox) -> None:
    """Make the sandbox send a few impossible candles, on the first day of those asked for."""
    opened = (datetime.now(UTC) - timedelta(days=_DAYS)).replace(minute=0) + timedelta(hours=6)
    start_ms = int(opened.timestamp()) // 60 * 60_000
    sandbox.faults.add(Fault("high_below_low", symbol="BTC/USDT", start_ms=start_ms, end_ms=start_ms + 120_000))
    sandbox.faults.add(Fault("negative_volume", symbol="ETH/USDT", start_ms=start_ms, end_ms=start_ms + 60_000))
    sandbox.faults.add(Fault("null_price", symbol="SOL/USDT", start_ms=start_ms, end_ms=start_ms + 60_000))


def _heading(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")


def _show_pulled(reports: "Sequence[SeriesReport]") -> None:
    _heading("Pulled in this run")
    counts = ("fetched", "inserted", "changed", "unchanged", "rejected", "refused")
    print_table(
        [Column("exchange"), Column("symbol"), *(Column(name, align="right") for name in counts)],
        [[one.exchange_id, one.request.symbol, *(getattr(one.result, name) for name in counts)] for one in reports],
    )
    if any(one.result.refused for one in reports):
        click.echo("Refused: Kraken keeps only its last 720 candles of any timeframe, whatever is asked for.")


def _show_agreement(days: "Sequence[Agreement]") -> None:
    minutes, differing = sum(one.minutes for one in days), sum(one.differing for one in days)
    click.echo(f"Of {minutes} minutes of which candles and trades were pulled, {differing} differ.")


def _show_rejected(rows: "Sequence[QuarantinedRow]") -> None:
    if not rows:
        return
    _heading("In quarantine: rejected rows as they came; their minutes are asked for again later")
    print_table(
        [
            Column("exchange"),
            Column("symbol"),
            Column("time (UTC)"),
            Column("failed", wraps=True),
            Column("row", wraps=True),
        ],
        [[one.exchange, one.symbol, one.time, ", ".join(one.reasons), str(one.raw)] for one in rows],
    )


def _show_stored(market: MarketData) -> None:
    _heading("Coverage, and the candles that can be read of it in each timeframe")
    columns = [Column(name) for name in ("exchange", "symbol", "from (UTC)", "to (UTC)")]
    columns += [Column(name, align="right") for name in ("gaps", "1m", *map(str, ROLLUPS))]
    stored = [one for one in records(market.coverage()) if one["dataset"] == "ohlcv"]
    print_table(columns, [_stored_row(market, one) for one in stored])


def _stored_row(market: MarketData, stored: dict[str, Any]) -> list[object]:
    exchange, symbol = stored["exchange"], stored["symbol"]
    bounds = [f"{stored[name]:%m-%d %H:%M}" for name in ("start", "end")]
    derived = [len(_candles(market, exchange, symbol, str(rollup))) for rollup in ROLLUPS]
    return [exchange, symbol, *bounds, stored["gaps"], stored["rows"], *derived]


def _show_candles(market: MarketData) -> None:
    for timeframe, rows in (("1m", 5), ("1h", 5), ("1d", 5)):
        candles = _candles(market, "binance", "BTC/USDT", timeframe)
        _heading(f"binance BTC/USDT {timeframe}: the last {rows} of {len(candles):,} ({candles.attrs['source']})")
        print_frame(candles, rows=rows)


def _show_ticks(market: MarketData) -> None:
    now = datetime.now(UTC)
    trades = market.trades("binance", "BTC/USDT", now - timedelta(hours=1))
    _heading(f"binance BTC/USDT trades: the last 3 of {len(trades):,}")
    print_frame(trades, rows=3)
    _heading("binance BTC/USDT order book: the best 3 levels of the last one sampled")
    print_frame(market.order_book("binance", "BTC/USDT", depth=3), rows=3)
    candles = market.candles("binance", "BTC/USDT", "1m", now - timedelta(minutes=30), source="trades")
    _heading(f"binance BTC/USDT 1m built from its trades: the last 3 of {len(candles):,}")
    print_frame(candles, rows=3)


def _draw_chart(market: MarketData) -> None:
    candles = _candles(market, "binance", "BTC/USDT", "1h")
    save_candlesticks(candles, _CHART, title="binance BTC/USDT 1h (invented by the sandbox exchange)")
    click.echo(f"\nChart of the 1h candles: {_relative(_CHART)}")


def _candles(market: MarketData, exchange: str, symbol: str, timeframe: str) -> pd.DataFrame:
    # A day more than was pulled: else the first would fall out while the demo runs.
    return market.candles(exchange, symbol, timeframe, datetime.now(UTC) - timedelta(days=_DAYS + 1))


def _tell_next(seconds: float) -> None:
    _heading(f"Done in {seconds:.0f} s; all that was started is stopped again. Try next:")
    click.echo(_NEXT)


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main()
