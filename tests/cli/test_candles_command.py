import csv
import io
import json
import urllib.request
from decimal import Decimal
from pathlib import Path
from typing import Final

import pandas as pd
import pytest

from tapehouse.sandbox import Sandbox
from tests.cli.conftest import Cli, Program

_RANGE: Final = ("--start", "2025-04-01", "--end", "2025-04-01T02:00Z")
_BTC: Final = ("candles", "binance", "BTC/USDT")


@pytest.fixture(autouse=True)
def two_hours(cli: Cli) -> None:
    """BTC/USDT candles from 2025-04-01 00:00 to 02:00 UTC."""
    stored = cli(
        *("ingest", "ohlcv", "--exchange", "binance", "--symbol", "BTC/USDT"),
        *("--since", "2025-04-01", "--until", "2025-04-01T02:00Z"),
    )
    assert stored.exit_code == 0, stored.output


@pytest.fixture
def sent(sandbox: Sandbox) -> list[list[str]]:
    """What the exchange sends for those two hours: open time in ms, then decimals as text."""
    query = "symbol=BTCUSDT&interval=1m&startTime=1743465600000&endTime=1743472799999&limit=1000"
    with urllib.request.urlopen(f"{sandbox.url}/api.binance.com/api/v3/klines?{query}") as answer:
        return [row[:6] for row in json.load(answer)]


def test_csv_holds_exactly_what_the_exchange_sent(cli: Cli, sent: list[list[str]]) -> None:
    header, *rows = csv.reader(io.StringIO(cli(*_BTC, "1m", *_RANGE, "--format", "csv").stdout))

    assert header == ["time", "open", "high", "low", "close", "volume"]
    assert rows[0][0] == "2025-04-01T00:00:00+00:00"
    assert rows[-1][0] == "2025-04-01T01:59:00+00:00"
    assert [[Decimal(value) for value in row[1:]] for row in rows] == [
        [Decimal(value) for value in row[1:]] for row in sent
    ]


def test_json_says_where_candles_come_from_and_what_is_missing(cli: Cli, sent: list[list[str]]) -> None:
    answer = json.loads(cli(*_BTC, "1m", "--start", "2025-03-31T23:00Z", "--end", "2025-04-01T02:00Z", "--json").stdout)

    assert (answer["exchange"], answer["symbol"], answer["timeframe"]) == ("binance", "BTC/USDT", "1m")
    assert answer["source"] == "native"
    assert answer["gaps"] == [["2025-03-31T23:00:00+00:00", "2025-04-01T00:00:00+00:00"]]
    assert len(answer["candles"]) == 120
    assert answer["candles"][0]["time"] == "2025-04-01T00:00:00+00:00"
    assert answer["candles"][0]["close"] == float(sent[0][4])


def test_json_without_candles_is_still_json(cli: Cli) -> None:
    answer = json.loads(cli(*_BTC, "1m", "--start", "2025-03-01", "--end", "2025-03-02", "--json").stdout)

    assert answer["candles"] == []
    assert answer["candles_missing"] == 1440


def test_parquet_keeps_utc_and_dtypes(cli: Cli, tmp_path: Path, sent: list[list[str]]) -> None:
    path = tmp_path / "btc.parquet"

    result = cli(*_BTC, "1m", *_RANGE, "--format", "parquet", "--output", str(path))

    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    frame = pd.read_parquet(path)
    assert str(frame.index.dtype) == "datetime64[us, UTC]"
    assert frame.dtypes.astype(str).tolist() == ["float64"] * 5
    assert frame["volume"].tolist() == [float(row[5]) for row in sent]
    assert frame.attrs["source"] == "native"
    assert [file.name for file in tmp_path.iterdir()] == ["btc.parquet"]


def test_derived_candles_agree_with_pandas(cli: Cli, sent: list[list[str]]) -> None:
    answer = json.loads(cli(*_BTC, "1h", *_RANGE, "--json").stdout)

    for hour, candle in enumerate(answer["candles"]):
        minutes = [[float(value) for value in row[1:]] for row in sent[60 * hour : 60 * hour + 60]]
        assert candle["open"] == minutes[0][0]
        assert candle["high"] == max(row[1] for row in minutes)
        assert candle["low"] == min(row[2] for row in minutes)
        assert candle["close"] == minutes[-1][3]
        assert candle["volume"] == pytest.approx(sum(row[4] for row in minutes), abs=1e-9)
    assert len(answer["candles"]) == 2


def test_a_table_shows_the_last_rows_and_says_what_it_left_out(cli: Cli) -> None:
    result = cli(*_BTC, "1m", *_RANGE, "--rows", "2")

    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[:2] for line in lines[-2:]] == [["2025-04-01", "01:58"], ["2025-04-01", "01:59"]]
    assert len(lines) == 4
    assert "The last 2 of 120 candles" in result.stderr
    assert "Source: native (ohlcv 1m). Of 120 candles 0 are empty and 0 are missing." in result.stderr


def test_a_closed_pipe_ends_the_command_quietly(program: Program) -> None:
    process = program("candles", "binance", "BTC/USDT", "1m", *_RANGE, "--format", "csv")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    stderr = process.stderr.read()

    assert process.wait() == 141
    assert stderr == ""
