"""Processes that ask one exchange through one database together keep to its limit, and use it.

A few seconds of each in every test run, where a busy machine may hold requests up and only the mean is
judged; minutes of it, judged by each second, with `make campaign`.
"""

import logging
import os
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest

from tapehouse import embedded
from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.sandbox.record import Asked
from tapehouse.store.connection import connect
from tapehouse.store.migrate import migrate

IS_FULL: Final = os.environ.get("TAPEHOUSE_CAMPAIGN") == "full"
# Long after both have started.
SAMPLED_S: Final = 60 if IS_FULL else 6
DAYS: Final = 40 if IS_FULL else 2
END: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
# Asks for the order book of a market again and again, four times at once.
ASK: Final = """
import asyncio, sys, time
from tapehouse.ingest.venue import open_shared_exchange

database_url, sandbox_url, symbol, seconds = sys.argv[1:]

async def main():
    async with open_shared_exchange("binance", database_url, base_url=sandbox_url) as exchange:
        await exchange.order_book(symbol, 20)
        end_s = time.monotonic() + float(seconds)

        async def ask():
            while time.monotonic() < end_s:
                await exchange.order_book(symbol, 20)

        await asyncio.gather(*(ask() for _ in range(4)))

asyncio.run(main())
"""
TAPEHOUSE: Final = str(Path(sys.executable).with_name("tapehouse"))

_logger = logging.getLogger(__name__)

# What series a request is for, None for what is asked before that of any series begins.
SeriesOf = Callable[[Asked], str | None]


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database that nobody else keeps busy, and that holds none of it yet."""
    with embedded.running(tmp_path_factory.mktemp("budget")) as status:
        assert status.url is not None
        with connect(status.url) as connection:
            migrate(connection)
        yield status.url


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), latency_ms=20, limits={"coinbaseexchange": 10**9}) as sandbox:
        yield sandbox


def run_together(commands: Sequence[Sequence[str]]) -> None:
    processes = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors


def make_candles(sandbox: Sandbox, symbol: str, *, step: timedelta, days: int) -> None:
    """Have the sandbox make up candles, which it keeps: while it does, it sees no request, and then many at once."""
    start, page = END - timedelta(days=days), 300 * step
    while start < END:
        bounds = f"start={start:%Y-%m-%dT%H:%M:%SZ}&end={min(start + page, END) - step:%Y-%m-%dT%H:%M:%SZ}"
        path = f"/products/{symbol}/candles?granularity={step // timedelta(seconds=1)}&{bounds}"
        with urlopen(f"{sandbox.url}/api.exchange.coinbase.com{path}") as answer:
            assert answer.read()
        start += page


def require_shared_limit(requests: Sequence[Asked], series_of: SeriesOf, *, series: int, per_second: int) -> None:
    """The limit holds and is used while all of the series are asked for; a short run is judged as a whole.

    Before that the sandbox may be at work for a second on one answer, and those that come meanwhile wait.
    """
    own_times_s: dict[str, list[float]] = {}
    for one in requests:
        if (name := series_of(one)) is not None:
            own_times_s.setdefault(name, []).append(one.at.timestamp())
    assert len(own_times_s) == series
    firsts_s, lasts_s = list(map(min, own_times_s.values())), list(map(max, own_times_s.values()))
    start_s, end_s = (max(firsts_s), min(lasts_s)) if IS_FULL else (min(firsts_s), max(lasts_s))
    assert end_s > start_s
    times_s = sorted(time_s for one in requests if start_s <= (time_s := one.at.timestamp()) < end_s)
    rate = len(times_s) / (end_s - start_s)
    most = max(bisect_left(times_s, time_s + 1) - number for number, time_s in enumerate(times_s))
    _logger.info("%d series for %.0f s: %.1f requests a second, at most %d in one", series, end_s - start_s, rate, most)
    # Each by itself would ask at the full rate; requests held up at the start may be counted among those after it.
    assert rate <= 1.2 * per_second
    if IS_FULL:
        assert most <= per_second
        assert rate >= 0.85 * per_second


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_two_processes_keep_to_the_limit_and_use_it(database_url: str, sandbox: Sandbox):
    # Binance allows a weight of 6000 a minute, and such a book weighs 5: ccxt asks for 20 a second.
    run_together(
        [
            [sys.executable, "-c", ASK, database_url, sandbox.url, symbol, str(SAMPLED_S)]
            for symbol in ("BTC/USDT", "ETH/USDT")
        ]
    )
    books = [one for one in sandbox.requests if one.path.endswith("/depth")]
    require_shared_limit(books, lambda one: one.query["symbol"], series=2, per_second=20)


@pytest.mark.campaign
@pytest.mark.timeout(900)
def test_two_backfills_and_an_ingest_keep_to_the_limit_and_use_it(database_url: str, sandbox: Sandbox):
    def command(*words: str, symbols: str, days: int, names: tuple[str, str]) -> list[str]:
        bounds = ((END - timedelta(days=days)).isoformat(), END.isoformat())
        options = [word for name, bound in zip(names, bounds, strict=True) for word in (name, bound)]
        where = ["--exchange", "coinbaseexchange", "--symbol", symbols, *options]
        return [TAPEHOUSE, *words, *where, "--url", database_url, "--exchange-url", sandbox.url]

    def series_of(asked: Asked) -> str | None:
        # A backfill looks for a series' beginning among longer candles.
        asks_for = (asked.query.get("granularity"), asked.path.split("/")[-2])
        return str(asks_for) if asks_for[0] == "60" or asks_for == ("300", "BTC-USD") else None

    for symbol in ("BTC-USD", "ETH-USD", "SOL-USD", "QUILL-USD"):
        make_candles(sandbox, symbol, step=timedelta(minutes=1), days=DAYS)
    make_candles(sandbox, "BTC-USD", step=timedelta(minutes=5), days=10 * DAYS)
    asked_before = len(sandbox.requests)
    # Each as many requests as the others. Coinbase allows 10 a second, which is what ccxt takes them for.
    names = ("--start", "--end")
    run_together(
        [
            command("backfill", symbols="BTC/USD,ETH/USD", days=DAYS, names=names),
            command("backfill", symbols="SOL/USD,QUILL/USD", days=DAYS, names=names),
            command(
                "ingest", "ohlcv", "--timeframe", "5m", symbols="BTC/USD", days=10 * DAYS, names=("--since", "--until")
            ),
        ]
    )
    require_shared_limit(sandbox.requests[asked_before:], series_of, series=5, per_second=10)
    with connect(database_url) as connection:
        covered = connection.execute(
            "select sum(upper(one) - lower(one)) from coverage join series using (series_id) "
            "join instrument using (instrument_id), unnest(covered) one where exchange = 'coinbaseexchange'"
        ).fetchall()
    assert covered == [(timedelta(days=14 * DAYS),)]
