"""Trades from the exchange into the store and out of it again, and how they agree with its candles."""

import csv
import io
import json
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

from tapehouse.embedded import EmbeddedStatus
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.store.connection import connect
from tests.cli.conftest import Cli

_RANGE: Final = ("--start", "2025-04-11", "--end", "2025-04-11T00:20Z")
_MARKET: Final = ("--exchange", "binance", "--symbol", "BTC/USDT")
_WINDOW: Final = ("--since", "2025-04-11", "--until", "2025-04-11T00:20Z")
_BTC: Final = ("binance", "BTC/USDT")


@pytest.fixture(autouse=True)
def twenty_minutes(cli: Cli) -> None:
    """BTC/USDT trades from 2025-04-11 00:00 to 00:20 UTC."""
    stored = cli("ingest", "trades", *_MARKET, *_WINDOW)
    assert stored.exit_code == 0, stored.output


@pytest.fixture
def sent(sandbox: Sandbox) -> list[dict[str, Any]]:
    """What the exchange sends for those minutes, in one page: id `a`, price `p`, amount `q`, time `T`, `m` if sold."""
    start_ms = int(datetime(2025, 4, 11, tzinfo=UTC).timestamp()) * 1000
    query = f"symbol=BTCUSDT&startTime={start_ms}&endTime={start_ms + 20 * 60_000 - 1}&limit=1000"
    with urllib.request.urlopen(f"{sandbox.url}/api.binance.com/api/v3/aggTrades?{query}") as answer:
        trades = json.load(answer)
    assert 100 < len(trades) < 1000
    return trades


def test_csv_holds_exactly_what_the_exchange_sent(cli: Cli, sent: list[dict[str, Any]]) -> None:
    header, *rows = csv.reader(io.StringIO(cli("trades", *_BTC, *_RANGE, "--format", "csv").stdout))

    assert header == ["time", "trade_id", "price", "amount", "side"]
    assert [
        (datetime.fromisoformat(time), int(trade_id), Decimal(price), Decimal(amount), side)
        for time, trade_id, price, amount, side in rows
    ] == [
        (
            datetime.fromtimestamp(one["T"] // 1000, UTC).replace(microsecond=one["T"] % 1000 * 1000),
            one["a"],
            Decimal(one["p"]),
            Decimal(one["q"]),
            "sell" if one["m"] else "buy",
        )
        for one in sent
    ]


def test_json_and_parquet_hold_the_same_as_csv(cli: Cli, sent: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"

    answer = json.loads(cli("trades", *_BTC, *_RANGE, "--json").stdout)
    saved = cli("trades", *_BTC, *_RANGE, "--format", "parquet", "--output", str(path))

    assert saved.exit_code == 0, saved.output
    assert (answer["exchange"], answer["symbol"], answer["gaps"]) == ("binance", "BTC/USDT", [])
    assert [one["trade_id"] for one in answer["trades"]] == [one["a"] for one in sent]
    frame = pd.read_parquet(path)
    assert frame["trade_id"].tolist() == [one["a"] for one in sent]
    assert frame["price"].tolist() == [float(one["p"]) for one in sent]
    assert frame.attrs["from_sandbox"] is True


def test_a_table_shows_the_last_trades_to_the_millisecond(cli: Cli, sent: list[dict[str, Any]]) -> None:
    result = cli("trades", *_BTC, *_RANGE, "--rows", "2")

    rows = [line.split() for line in result.stdout.splitlines()[-2:]]
    assert [row[2] for row in rows] == [str(one["a"]) for one in sent[-2:]]
    assert [int(row[1].rpartition(".")[2]) for row in rows] == [one["T"] % 1000 for one in sent[-2:]]
    assert f"The last 2 of {len(sent)} trades" in result.stderr
    assert "These trades came from the sandbox" in result.stderr


def test_an_ingest_says_what_came_and_what_was_refreshed(cli: Cli) -> None:
    result = cli(
        *("ingest", "trades", "--exchange", "binance", "--symbol", "ETH/USDT"),
        *("--since", "2025-04-11T12:00Z", "--until", "2025-04-11T12:30Z", "--json"),
    )

    report = json.loads(result.stdout)
    (series,) = report["series"]
    assert (series["dataset"], series["start"], series["error"]) == ("trade", "2025-04-11T12:00:00+00:00", None)
    assert series["inserted"] == series["fetched"] > 0
    hour = {"start": "2025-04-11T12:00:00+00:00", "end": "2025-04-11T13:00:00+00:00"}
    assert hour in report["trade_candles_refreshed"]
    (features,) = (one for one in report["features_refreshed"] if one["start"].startswith("2025-04-11T12"))
    assert features["end"] <= "2025-04-11T12:31:00"


def test_a_second_ingest_asks_for_the_last_seconds_only(cli: Cli, sandbox: Sandbox) -> None:
    before = len(sandbox.requests)

    result = cli("ingest", "trades", *_MARKET, *_WINDOW, "--json")

    (series,) = json.loads(result.stdout)["series"]
    assert (series["inserted"], series["changed"]) == (0, 0)
    assert series["unchanged"] == series["fetched"] < 20
    assert len([one for one in sandbox.requests[before:] if one.path.endswith("aggTrades")]) < 5


def test_an_exchange_that_gives_recent_trades_only_leaves_the_rest_refused(cli: Cli) -> None:
    result = cli("ingest", "trades", "--exchange", "okx", "--symbol", "BTC/USDT", "--since", "7d", "--json")

    assert result.exit_code == 0, result.output
    (series,) = json.loads(result.stdout)["series"]
    assert series["refused"] > 0
    assert series["inserted"] > 0
    (stored,) = json.loads(cli("coverage", "--exchange", "okx", "--json").stdout)["series"]
    assert (stored["dataset"], stored["from_sandbox"], stored["rows"]) == ("trade", True, series["inserted"])
    assert stored["start"] > series["start"]


def test_candles_built_from_trades_agree_with_pandas(cli: Cli, sent: list[dict[str, Any]]) -> None:
    answer = json.loads(cli("candles", *_BTC, "1m", *_RANGE, "--source", "trades", "--json").stdout)

    trades = pd.DataFrame(
        {"price": [float(one["p"]) for one in sent], "amount": [Decimal(one["q"]) for one in sent]},
        index=pd.to_datetime([one["T"] for one in sent], unit="ms", utc=True),
    )
    minutes = trades.resample("1min").agg({"price": ["first", "max", "min", "last", "count"], "amount": "sum"})
    assert answer["source"] == "trades"
    assert [
        [one["open"], one["high"], one["low"], one["close"], one["trades"], one["volume"]] for one in answer["candles"]
    ] == [[*row[:5], pytest.approx(float(row[5]), abs=1e-9)] for row in minutes.itertuples(index=False)]


def test_candles_that_agree_with_trades_are_counted_as_such(cli: Cli) -> None:
    assert cli("ingest", "ohlcv", *_MARKET, *_WINDOW).exit_code == 0

    result = cli("compare", *_MARKET, "--start", "2025-04-11", "--end", "2025-04-11T12:00Z")

    row = result.stdout.splitlines()[-1].split()
    assert result.exit_code == 0
    assert row == ["binance", "BTC/USDT", "20", *["0"] * 8, "0.0000%"]


def test_candles_that_differ_from_trades_are_counted_by_column(cli: Cli, database: EmbeddedStatus) -> None:
    window = ("--since", "2025-04-12", "--until", "2025-04-12T00:10Z")
    assert cli("ingest", "ohlcv", *_MARKET, *window).exit_code == 0
    assert cli("ingest", "trades", *_MARKET, *window).exit_code == 0
    with connect(database.url or "") as connection:
        connection.execute("update ohlcv set high = high * 1.01, volume = volume + 1 where time = '2025-04-12T00:03Z'")
        connection.execute("delete from ohlcv where time = '2025-04-12T00:05Z'")

    asked = ("compare", *_MARKET, "--start", "2025-04-12", "--end", "2025-04-12T00:10Z")
    result, (day,) = cli(*asked), json.loads(cli(*asked, "--json").stdout)["days"]

    assert result.exit_code == 0
    assert (day["minutes"], day["differing"], day["high_differs"], day["volume_differs"]) == (10, 2, 1, 1)
    assert (day["without_candle"], day["largest_price_gap"]) == (1, pytest.approx(0.01 / 1.01, rel=1e-3))
    assert result.stdout.splitlines()[-1].split()[2:4] == ["10", "2"]


def test_nothing_to_compare_is_said(cli: Cli) -> None:
    result = cli("compare", "--exchange", "okx", "--symbol", "NONE/USDT")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing to compare: ingest 1m candles (ohlcv) and trades of the same time." in result.stderr
    assert cli("compare", "--exchange", "nowhere").exit_code == 2


def test_what_retention_has_dropped_is_no_gap(
    cli: Cli, database: EmbeddedStatus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with connect(database.url or "") as connection:
        connection.execute("insert into retention values ('trade', 0, '2025-04-11T00:10Z')")
        without = cli("trades", *_BTC, "--start", "2025-04-11", "--end", "2025-04-11T00:21Z").stderr.splitlines()
        monkeypatch.setenv("TAPEHOUSE_ARCHIVE", str(tmp_path))
        beside = cli("trades", *_BTC, *_RANGE).stderr
        connection.execute("delete from retention where dataset = 'trade'")

    assert without[-2:] == [
        (
            "Retention has dropped what was before 2025-04-11 00:10 UTC: what of it was archived is read where "
            "TAPEHOUSE_ARCHIVE names the archive's folder."
        ),
        "Gap: 2025-04-11 00:20 to 2025-04-11 00:21 UTC.",
    ]
    assert "00:10 UTC: the archive does not hold all of it." in beside
    assert "Gap" not in beside


def test_rejected_trades_are_in_quarantine_with_their_dataset(cli: Cli, sandbox: Sandbox) -> None:
    start_ms = int(datetime(2025, 4, 11, 0, 10, tzinfo=UTC).timestamp()) * 1000
    sandbox.faults.add(
        Fault("negative_price", symbol="SOL/USDT", start_ms=start_ms, end_ms=start_ms + 60_000, rows=1000)
    )
    asked = ("ingest", "trades", "--exchange", "binance", "--symbol", "SOL/USDT")
    assert cli(*asked, "--since", "2025-04-11", "--until", "2025-04-11T00:20Z").exit_code == 0

    rows = json.loads(cli("quarantine", "--exchange", "binance", "--symbol", "SOL/USDT", "--json").stdout)["rows"]

    assert {(row["dataset"], row["timeframe"], *row["reasons"]) for row in rows} == {
        ("trade", None, "price_not_positive")
    }
    assert "trade " in cli("quarantine", "--exchange", "binance", "--symbol", "SOL/USDT").stdout
