"""The ingest flow on a real Prefect server, a real database and ccxt over HTTP."""

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from click.testing import CliRunner

from flows.ingest_ohlcv import CandleMarkets, TimeframeName, command, ingest_ohlcv
from tapehouse.errors import InputError, NaiveDatetime, TapehouseError, UnknownSymbol
from tapehouse.sandbox import Sandbox
from tapehouse.store.connection import Connection
from tapehouse.timeframe import to_ms
from tasks.report import SeriesReport
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings")

# A whole day that is over.
DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=12)


async def ingest(*markets: tuple[str, list[str]], hours: float, timeframe: TimeframeName = "1m") -> list[SeriesReport]:
    return await ingest_ohlcv(
        [CandleMarkets(exchange=exchange, symbols=symbols) for exchange, symbols in markets],
        timeframe,
        since=DAY.isoformat(),
        until=(DAY + timedelta(hours=hours)).isoformat(),
    )


def klines(sandbox: Sandbox, symbol: str, *, hours: int) -> list[tuple[int, float, float]]:
    """Open time in milliseconds, close and volume, asked of the exchange without ccxt."""
    end_ms = to_ms(DAY + timedelta(hours=hours)) - 1
    query = f"symbol={symbol}&interval=1m&startTime={to_ms(DAY)}&endTime={end_ms}&limit=1000"
    with urllib.request.urlopen(f"{sandbox.url}/api.binance.com/api/v3/klines?{query}", timeout=10) as answer:
        return [(row[0], float(row[4]), float(row[5])) for row in json.load(answer)]


def stored(
    database: Connection, exchange: str, symbol: str, *, timeframe_s: int = 60
) -> list[tuple[int, float, float]]:
    rows = database.execute(
        "select (extract(epoch from time) * 1000)::bigint, close, volume from candle"
        " where exchange = %s and symbol = %s and timeframe_s = %s and time >= %s and time < %s order by time",
        (exchange, symbol, timeframe_s, DAY, DAY + timedelta(days=1)),
    )
    return [(time_ms, close, volume) for time_ms, close, volume in rows]


async def test_it_stores_what_the_exchange_has_and_tells_of_each_series(
    server: PrefectServer, sandbox: Sandbox, database: Connection
) -> None:
    asked_before = len(sandbox.requests)
    await ingest(("binance", ["BTC/USDT", "SOL/USDT"]), ("binanceusdm", ["BTC/USDT:USDT"]), hours=4)

    assert stored(database, "binance", "BTC/USDT") == klines(sandbox, "BTCUSDT", hours=4)
    assert stored(database, "binance", "SOL/USDT") == klines(sandbox, "SOLUSDT", hours=4)
    assert len(stored(database, "binanceusdm", "BTC/USDT:USDT")) == 240
    table = server.latest_artifact("ingest-ohlcv")["data"]
    assert [(row["exchange"], row["symbol"], row["timeframe"]) for row in table] == [
        ("binance", "BTC/USDT", "1m"),
        ("binance", "SOL/USDT", "1m"),
        ("binanceusdm", "BTC/USDT:USDT", "1m"),
    ]
    for row in table:
        counts = {name: row[name] for name in ("planned", "fetched", "inserted", "changed", "unchanged", "rejected")}
        assert counts == {"planned": 240, "fetched": 240, "inserted": 240, "changed": 0, "unchanged": 0, "rejected": 0}
        assert row["error"] is None
    markets_loaded = [one for one in sandbox.requests[asked_before:] if one.path == "/api/v3/exchangeInfo"]
    assert len(markets_loaded) == 1, "the series of one exchange share one instance of it"


async def test_it_refreshes_the_rollups_of_the_days_it_wrote(server: PrefectServer, database: Connection) -> None:
    await ingest(("binance", ["QUILL/USDT"]), hours=2)

    days = [tuple(row.values()) for row in server.latest_artifact("refresh-rollups")["data"]]
    assert (
        "candles 5m, 15m, 1h, 4h, 1d",
        f"{DAY:%Y-%m-%d} 00:00:00",
        f"{DAY + timedelta(days=1):%Y-%m-%d} 00:00:00",
    ) in days
    behind = database.execute(
        "select count(*) from stale_rollup s join instrument i using (instrument_id)"
        " where i.symbol = 'QUILL/USDT' and i.exchange = 'binance'"
    ).fetchone()
    assert behind == (0,)


async def test_a_second_run_asks_for_the_last_candles_only_and_changes_nothing(server: PrefectServer) -> None:
    (first,) = await ingest(("binance", ["ETH/USDT"]), hours=4)
    (second,) = await ingest(("binance", ["ETH/USDT"]), hours=4)

    assert (first.row()["planned"], first.result.inserted) == (240, 240)
    assert (second.row()["planned"], second.result.fetched, second.result.inserted, second.result.changed) == (
        5,
        5,
        0,
        0,
    )
    assert second.result.revision == first.result.revision
    assert server.latest_artifact("ingest-ohlcv")["data"][0]["planned"] == 5


async def test_a_series_longer_than_a_chunk_is_one_task_a_chunk(server: PrefectServer) -> None:
    (report,) = await ingest_ohlcv(
        [CandleMarkets(exchange="binanceusdm", symbols=["QUILL/USDT:USDT"])],
        since=(DAY - timedelta(days=35)).isoformat(),
        until=DAY.isoformat(),
    )

    assert report.result.inserted == 35 * 1440
    starts = (DAY - timedelta(days=35), DAY - timedelta(minutes=50_000))
    assert server.task_runs("binanceusdm QUILL/USDT:USDT 1m from", count=len(starts)) == {
        f"binanceusdm QUILL/USDT:USDT 1m from {start:%Y-%m-%d %H:%M}" for start in starts
    }


async def test_markets_may_have_a_timeframe_of_their_own(server: PrefectServer, database: Connection) -> None:
    del server
    markets = [
        CandleMarkets(exchange="binance", symbols=["ETH/BTC", "ETH/BTC"], timeframe="1h"),
        CandleMarkets(exchange="binance", symbols=["ETH/BTC"]),
    ]
    reports = await ingest_ohlcv(markets, "4h", since=DAY.isoformat(), until=(DAY + timedelta(days=1)).isoformat())

    assert [(str(report.request), report.result.inserted) for report in reports] == [
        ("ETH/BTC 1h", 24),
        ("ETH/BTC 4h", 6),
    ]
    assert len(stored(database, "binance", "ETH/BTC", timeframe_s=3600)) == 24


async def test_one_failing_series_does_not_stop_the_others(server: PrefectServer, database: Connection) -> None:
    with pytest.raises(TapehouseError) as failed:
        await ingest(("binance", ["NOPE/USDT", "EMBER/USDT"]), ("nosuch", ["BTC/USDT"]), hours=1)

    assert type(failed.value) is TapehouseError
    assert "2 of 3 failed" in str(failed.value)
    assert "binance NOPE/USDT 1m: binance has no" in str(failed.value)
    assert "nosuch BTC/USDT 1m: ccxt knows no exchange 'nosuch'" in str(failed.value)
    assert len(stored(database, "binance", "EMBER/USDT")) == 60
    errors = {row["symbol"]: row["error"] for row in server.latest_artifact("ingest-ohlcv")["data"]}
    assert errors["EMBER/USDT"] is None
    assert "binance has no" in errors["NOPE/USDT"]


async def test_failures_of_one_kind_keep_that_kind(server: PrefectServer) -> None:
    del server
    with pytest.raises(UnknownSymbol, match=r"^2 of 2 failed"):
        await ingest(("binance", ["NOPE/USDT"]), ("kraken", ["NOPE/USD"]), hours=1)


@pytest.mark.parametrize(
    ("since", "until", "error"),
    [
        ("yesterday", None, InputError),
        ("2025-05-01T12:30:00", None, NaiveDatetime),
        ("7d", "soon", InputError),
    ],
)
async def test_a_time_that_makes_no_sense_is_refused(
    server: PrefectServer, since: str, until: str | None, error: type[Exception]
) -> None:
    del server
    with pytest.raises(error):
        await ingest_ohlcv(since=since, until=until)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["binance"], "Name symbols of binance too"),
        (["binance", "BTC/USDT", "--timeframe", "7m"], "'7m' is not one of"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(arguments: list[str], said: str) -> None:
    refused = CliRunner().invoke(command, arguments)

    assert refused.exit_code == 2
    assert said in refused.output


def test_it_runs_from_a_shell_with_the_exit_code_of_its_error(server: PrefectServer) -> None:
    done = server.python("-m", "flows.ingest_ohlcv", "nosuch", "BTC/USDT")

    assert done.returncode == 2
    assert "Error: 1 of 1 failed. nosuch BTC/USDT 1m: ccxt knows no exchange 'nosuch'" in done.stderr
