"""Recorded markets: every value comes back over HTTP and ccxt exactly as it was recorded."""

import csv
import gzip
import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

from tapehouse.errors import InputError
from tapehouse.sandbox import Sandbox, market_from_rows, recorded_markets
from tests.sandbox.conftest import NOW_MS, UNLIMITED, Connect

RECORDINGS: Final = Path(__file__).parents[3] / "shared" / "data"
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
USDM: Final = RECORDINGS / "klines" / "binance_usdm_1m"
needs_recordings = pytest.mark.skipif(not USDM.exists(), reason="needs the recorded files in ../shared/data")


@pytest.fixture(scope="module")
def replay() -> Iterator[Sandbox]:
    with Sandbox(recorded_markets(RECORDINGS), limits=UNLIMITED, clock_ms=lambda: NOW_MS) as sandbox:
        yield sandbox


def recorded_frame(name: str) -> pd.DataFrame:
    frame = pd.read_feather(USDM / f"{name}_USDT_USDT-1m-futures.feather")
    frame["date"] = frame["date"].dt.tz_localize(None).astype("datetime64[ms]").astype("int64")
    return frame


async def every_row(exchange: Any, symbol: str, timeframe: str, *, page: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    since = 0
    while got := await exchange.fetch_ohlcv(symbol, timeframe, since=since, limit=page):
        rows += got
        since = got[-1][0] + 1
    return rows


@needs_recordings
@pytest.mark.parametrize("name", ["BTC", "SOL"])
async def test_every_recorded_candle_comes_back_exactly(replay: Sandbox, connect: Connect, name: str) -> None:
    exchange = await connect("binanceusdm", replay)

    rows = await every_row(exchange, f"{name}/USDT:USDT", "1m", page=1000)

    assert rows == recorded_frame(name).to_numpy().tolist()


@needs_recordings
@pytest.mark.parametrize(("timeframe", "rule"), [("1h", "1h"), ("1d", "1D")])
async def test_longer_candles_are_those_of_the_minutes(
    replay: Sandbox, connect: Connect, timeframe: str, rule: str
) -> None:
    """Volumes are added up as decimals: floats would add up to others in the last digits."""
    exchange = await connect("binanceusdm", replay)
    frame = recorded_frame("XRP")
    frame["volume"] = frame["volume"].map(lambda volume: Decimal(str(volume)))
    frame.index = pd.to_datetime(frame.pop("date"), unit="ms")
    expected = frame.resample(rule).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )

    rows = await every_row(exchange, "XRP/USDT:USDT", timeframe, page=1000)

    assert [row[0] for row in rows] == expected.index.astype("datetime64[ms]").astype("int64").tolist()
    assert [row[1:5] for row in rows] == expected.iloc[:, :4].to_numpy().tolist()
    assert [row[5] for row in rows] == [float(volume) for volume in expected["volume"]]


@needs_recordings
async def test_a_stray_decimal_is_served_and_not_announced(replay: Sandbox, connect: Connect) -> None:
    """One of SOL's 43,200 highs has three decimals; the market's tick is 0.01."""
    exchange = await connect("binanceusdm", replay)

    markets: dict[str, Any] = await exchange.load_markets()

    assert markets["SOL/USDT:USDT"]["precision"] == {"amount": 0.01, "price": 0.01, "base": 1e-8, "quote": 1e-8}


@needs_recordings
def test_recorded_decimals_come_back_letter_by_letter(replay: Sandbox) -> None:
    with gzip.open(RECORDINGS / "klines/binance_spot_1m/BTCUSDT_2021-02-19_1week.json.gz") as file:
        minutes = json.load(file)
    expected = [
        [m["openTimeInMillis"], m["open"], m["high"], m["low"], m["close"], m["volume"]] for m in minutes[2000:3000]
    ]

    address = f"{replay.url}/api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000"
    with urllib.request.urlopen(f"{address}&startTime={expected[0][0]}", timeout=10) as response:
        rows = json.load(response)

    assert [row[:6] for row in rows] == expected


@needs_recordings
async def test_coinbase_leaves_out_the_minutes_that_were_left_out(replay: Sandbox, connect: Connect) -> None:
    exchange = await connect("coinbaseexchange", replay)
    midnight_ms = int(datetime(2018, 4, 4, tzinfo=UTC).timestamp() * 1000)
    with gzip.open(RECORDINGS / "klines/coinbase_1m/btceur_20180404_1m.csv.gz", "rt") as file:
        recorded = [[midnight_ms + int(row[0]), *map(float, row[1:])] for row in csv.reader(file)]
    first_five_hours = [row for row in recorded if row[0] < midnight_ms + 300 * MINUTE_MS]

    rows = await exchange.fetch_ohlcv("BTC/EUR", "1m", since=midnight_ms, limit=300)

    assert len(rows) < 300
    assert rows == first_five_hours


@needs_recordings
def test_a_shift_to_now_keeps_the_time_of_day_and_the_markets_in_step() -> None:
    there = {
        market.symbol: market.history for market in recorded_markets(RECORDINGS) if market.exchange == "binanceusdm"
    }

    moved = {
        market.symbol: market.history
        for market in recorded_markets(RECORDINGS, shift_to_now=True, now_ms=NOW_MS)
        if market.exchange == "binanceusdm"
    }

    shifts = {moved[symbol].first_ms - there[symbol].first_ms for symbol in there}
    assert len(shifts) == 1
    assert shifts.pop() % DAY_MS == 0
    latest_ms = max(history.end_ms or 0 for history in moved.values())
    assert NOW_MS - DAY_MS < latest_ms <= NOW_MS


def test_a_directory_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no recordings"):
        recorded_markets(tmp_path)


async def test_rows_of_a_test_become_a_market(connect: Connect) -> None:
    """The minute without a row has the close before it: binance fills, whatever the rows are."""
    start_ms = NOW_MS // MINUTE_MS * MINUTE_MS - 5 * MINUTE_MS
    rows = [
        [start_ms, "10.10", "10.50", "9.90", "10.20", "1.5"],
        [start_ms + MINUTE_MS, 10.2, 10.2, 10.2, 10.2, 0.001],
        [start_ms + 3 * MINUTE_MS, 10.3, 11, 10.3, 10.9, 2],
    ]
    market = market_from_rows("binance", "ABC/USDT", rows, price_decimals=1, amount_decimals=3)
    with Sandbox([market], clock_ms=lambda: NOW_MS) as sandbox:
        exchange = await connect("binance", sandbox)

        got = await exchange.fetch_ohlcv("ABC/USDT", "1m")

        assert exchange.markets["ABC/USDT"]["precision"]["price"] == 0.1
    assert got == [
        [start_ms, 10.1, 10.5, 9.9, 10.2, 1.5],
        [start_ms + MINUTE_MS, 10.2, 10.2, 10.2, 10.2, 0.001],
        [start_ms + 2 * MINUTE_MS, 10.2, 10.2, 10.2, 10.2, 0.0],
        [start_ms + 3 * MINUTE_MS, 10.3, 11.0, 10.3, 10.9, 2.0],
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [[0, 1, 1, 1, 1]],
        [[60_000, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]],
        [[0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]],
        [[30_000, 1, 1, 1, 1, 1]],
        [[0, 1 / 3, 1, 1, 1, 1]],
    ],
    ids=["none", "five values", "disorder", "twice", "not a minute", "endless decimals"],
)
def test_rows_that_are_no_minutes_are_refused(rows: list[list[float]]) -> None:
    with pytest.raises(InputError):
        market_from_rows("binance", "ABC/USDT", rows)
