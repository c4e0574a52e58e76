"""The flow that fetches trades, on a real Prefect server, a real database and ccxt over HTTP."""

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from click.testing import CliRunner

from flows.compare_candles import compare_candles
from flows.ingest_ohlcv import CandleMarkets, ingest_ohlcv
from flows.ingest_trades import command, ingest_trades
from flows.markets import Markets
from tapehouse.errors import InputError, TapehouseError
from tapehouse.sandbox import Sandbox
from tapehouse.store.connection import Connection
from tapehouse.timeframe import to_ms
from tasks.report import SeriesReport
from tests.flows.services import PrefectServer

pytestmark = pytest.mark.usefixtures("settings")

# A whole day that is over.
DAY: Final = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)


async def ingest(*markets: tuple[str, list[str]], minutes: int) -> list[SeriesReport]:
    return await ingest_trades(
        [Markets(exchange=exchange, symbols=symbols) for exchange, symbols in markets],
        since=DAY.isoformat(),
        until=(DAY + timedelta(minutes=minutes)).isoformat(),
    )


def trades(sandbox: Sandbox, symbol: str, *, minutes: int) -> list[tuple[str, float, float, str]]:
    """Id, price, amount and the taker's side, asked of the exchange without ccxt."""
    end_ms = to_ms(DAY + timedelta(minutes=minutes)) - 1
    query = f"symbol={symbol}&startTime={to_ms(DAY)}&endTime={end_ms}&limit=1000"
    with urllib.request.urlopen(f"{sandbox.url}/api.binance.com/api/v3/aggTrades?{query}", timeout=10) as answer:
        rows = json.load(answer)
    assert 0 < len(rows) < 1000
    return [(str(one["a"]), float(one["p"]), float(one["q"]), "sell" if one["m"] else "buy") for one in rows]


def stored(database: Connection, symbol: str) -> list[tuple[str, float, float, str]]:
    return database.execute(
        "select trade_id, price, amount, side from trade_view where symbol = %s and time >= %s and time < %s"
        " order by time, trade_id::bigint",
        (symbol, DAY, DAY + timedelta(days=1)),
    ).fetchall()


async def test_it_stores_what_the_exchange_has_and_tells_of_each_series(
    server: PrefectServer, sandbox: Sandbox, database: Connection
) -> None:
    await ingest(("binance", ["BTC/USDT", "SOL/USDT"]), minutes=30)

    expected = trades(sandbox, "BTCUSDT", minutes=30)
    assert stored(database, "BTC/USDT") == expected
    assert stored(database, "SOL/USDT") == trades(sandbox, "SOLUSDT", minutes=30)
    first, second = server.latest_artifact("ingest-trades")["data"]
    assert (first["exchange"], first["symbol"], second["symbol"]) == ("binance", "BTC/USDT", "SOL/USDT")
    assert (first["planned_hours"], first["inserted"], first["rejected"], first["error"]) == (
        0.5,
        len(expected),
        0,
        None,
    )


async def test_it_refreshes_candles_and_features_over_what_it_wrote(
    server: PrefectServer, database: Connection
) -> None:
    # What other files' tests have left.
    database.execute("delete from stale_rollup")
    await ingest(("binance", ["ETH/USDT"]), minutes=30)

    refreshed = {
        row["refreshed"]: (row["from"], row["to"]) for row in server.latest_artifact("refresh-rollups")["data"]
    }
    hour = (f"{DAY:%Y-%m-%d %H:%M:%S}", f"{DAY + timedelta(hours=1):%Y-%m-%d %H:%M:%S}")
    assert refreshed["trade candles 1s, 1m"] == hour
    assert hour[0] <= refreshed["features"][0] < refreshed["features"][1] <= hour[1]
    behind = database.execute("""
        select (select count(*) from stale_rollup where stale_rollup.instrument_id = i.instrument_id),
            (select count(*) from stale_feature where stale_feature.instrument_id = i.instrument_id)
        from instrument i where exchange = 'binance' and symbol = 'ETH/USDT'
    """)
    assert behind.fetchone() == (0, 0)


async def test_a_chunk_is_a_task_of_its_own(server: PrefectServer) -> None:
    await ingest(("binance", ["EMBER/USDT"]), minutes=7 * 60)

    starts = (DAY, DAY + timedelta(hours=1))
    assert server.task_runs("binance EMBER/USDT trades from", count=len(starts)) == {
        f"binance EMBER/USDT trades from {start:%Y-%m-%d %H:%M}" for start in starts
    }


async def test_one_failing_series_does_not_stop_the_others(server: PrefectServer, database: Connection) -> None:
    with pytest.raises(TapehouseError, match=r"2 of 3 failed") as failed:
        await ingest(("binance", ["NOPE/USDT", "ETH/BTC"]), ("nosuch", ["BTC/USDT"]), minutes=5)

    assert "binance NOPE/USDT trades: binance has no" in str(failed.value)
    assert "nosuch BTC/USDT trades: ccxt knows no exchange 'nosuch'" in str(failed.value)
    assert stored(database, "ETH/BTC")
    assert len(server.latest_artifact("ingest-trades")["data"]) == 3


async def test_candles_and_trades_of_the_same_time_are_compared_day_by_day(server: PrefectServer) -> None:
    since, until = DAY.isoformat(), (DAY + timedelta(minutes=20)).isoformat()
    await ingest_ohlcv([CandleMarkets(exchange="binance", symbols=["QUILL/USDT"])], since=since, until=until)
    await ingest(("binance", ["QUILL/USDT"]), minutes=20)

    (found,) = await compare_candles(symbol="QUILL/USDT", since=since, until=until)

    assert (found.minutes, found.differing, found.largest_price_gap) == (20, 0, 0)
    artifact = server.latest_artifact("compare-candles")
    assert artifact["description"] == "20 minutes compared, of which 0 differ."
    assert [(row["symbol"], row["day"], row["minutes"]) for row in artifact["data"]] == [
        ("QUILL/USDT", str(DAY.date()), 20)
    ]


async def test_a_time_that_makes_no_sense_is_refused(server: PrefectServer) -> None:
    del server
    with pytest.raises(InputError):
        await ingest_trades(since="yesterday")


def test_a_command_line_that_makes_no_sense_is_refused() -> None:
    refused = CliRunner().invoke(command, ["binance"])

    assert refused.exit_code == 2
    assert "Name symbols of binance too" in refused.output


def test_it_runs_from_a_shell_with_the_exit_code_of_its_error(server: PrefectServer) -> None:
    done = server.python("-m", "flows.ingest_trades", "nosuch", "BTC/USDT")

    assert done.returncode == 2
    assert "Error: 1 of 1 failed. nosuch BTC/USDT trades: ccxt knows no exchange 'nosuch'" in done.stderr
