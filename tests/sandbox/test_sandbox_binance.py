"""Binance's habits, as ccxt's own classes see them over HTTP."""

import json
import urllib.error
import urllib.request
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tapehouse.sandbox import Sandbox
from tests.sandbox.conftest import NOW_MS, Connect

MINUTE_MS = 60_000
FORMING_MS = NOW_MS // MINUTE_MS * MINUTE_MS
# Spot and USDT-M futures have these habits in common.
PRODUCTS = pytest.mark.parametrize(("name", "symbol"), [("binance", "BTC/USDT"), ("binanceusdm", "BTC/USDT:USDT")])


async def test_ccxt_loads_the_markets_of_all_three_products_at_once(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)

    markets: dict[str, Any] = await exchange.load_markets()

    assert len(markets) == 12
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["BTC/USDT"]["precision"]["amount"] == 0.00001
    assert markets["BTC/USDT:USDT"]["contractSize"] == 1
    assert markets["BTC/USDT:USDT"]["linear"] is True


async def test_a_delisted_market_is_listed_and_inactive(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)

    markets: dict[str, Any] = await exchange.load_markets()

    assert {symbol for symbol, market in markets.items() if not market["active"]} == {"RELIC/USDT"}


@PRODUCTS
async def test_server_time_is_the_sandbox_clock(sandbox: Sandbox, connect: Connect, name: str, symbol: str) -> None:
    exchange = await connect(name, sandbox)

    assert await exchange.fetch_time() == NOW_MS


@PRODUCTS
async def test_without_since_the_latest_500_come_and_the_open_one_last(
    sandbox: Sandbox, connect: Connect, name: str, symbol: str
) -> None:
    exchange = await connect(name, sandbox)

    rows = await exchange.fetch_ohlcv(symbol, "1m")

    assert [row[0] for row in rows] == list(range(FORMING_MS - 499 * MINUTE_MS, FORMING_MS + 1, MINUTE_MS))


@PRODUCTS
async def test_since_and_until_are_both_inclusive(sandbox: Sandbox, connect: Connect, name: str, symbol: str) -> None:
    exchange = await connect(name, sandbox)
    since, until = FORMING_MS - 10 * MINUTE_MS, FORMING_MS - 7 * MINUTE_MS

    rows = await exchange.fetch_ohlcv(symbol, "1m", since=since, limit=100, params={"until": until})
    later = await exchange.fetch_ohlcv(symbol, "1m", since=since + 1, limit=100, params={"until": until - 1})

    assert [row[0] for row in rows] == [since, since + MINUTE_MS, since + 2 * MINUTE_MS, until]
    assert [row[0] for row in later] == [since + MINUTE_MS, since + 2 * MINUTE_MS]


@pytest.mark.parametrize(
    ("host", "path", "asked", "given"),
    [
        ("api.binance.com", "api/v3", 1000, 1000),
        ("api.binance.com", "api/v3", 1500, 1000),
        ("fapi.binance.com", "fapi/v1", 1500, 1500),
        ("fapi.binance.com", "fapi/v1", 5000, 1500),
    ],
)
def test_too_large_a_limit_is_silently_cut(sandbox: Sandbox, host: str, path: str, asked: int, given: int) -> None:
    rows = ask(sandbox, f"{host}/{path}/klines?symbol=BTCUSDT&interval=1m&startTime=1738368000000&limit={asked}")

    assert len(rows) == given
    assert rows[0][0] == 1_738_368_000_000


def test_a_row_has_the_twelve_values_of_a_recorded_one(sandbox: Sandbox) -> None:
    (row,) = ask(sandbox, "api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=1738368000000&limit=1")

    assert [type(value) for value in row] == [int, str, str, str, str, str, int, str, int, str, str, str]
    assert row[6] == row[0] + 3_600_000 - 1
    assert all(len(value.partition(".")[2]) == 8 for value in row[1:6])
    assert float(row[3]) * float(row[5]) <= float(row[7]) <= float(row[2]) * float(row[5])


async def test_minutes_without_a_trade_hold_the_previous_close_and_no_volume(
    sandbox: Sandbox, connect: Connect
) -> None:
    exchange = await connect("binance", sandbox)

    rows = await exchange.fetch_ohlcv("QUILL/USDT", "1m", since=FORMING_MS - 600 * MINUTE_MS, limit=600)

    assert [row[0] for row in rows] == [FORMING_MS - back * MINUTE_MS for back in range(600, 0, -1)]
    empty = [index for index in range(1, 600) if rows[index][5] == 0]
    assert 300 < len(empty) < 600
    assert all(rows[index][1:5] == [rows[index - 1][4]] * 4 for index in empty)


async def test_history_begins_where_a_market_was_listed(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)

    rows = await exchange.fetch_ohlcv("EMBER/USDT", "1d", since=0, limit=2)

    assert [row[0] for row in rows] == [1_751_328_000_000, 1_751_414_400_000]  # 2025-07-01 and 02


async def test_history_ends_where_a_market_was_delisted(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)

    rows = await exchange.fetch_ohlcv("RELIC/USDT", "1m", limit=3)

    ended_ms = 1_743_408_000_000  # 2025-03-31 08:00
    assert [row[0] for row in rows] == [ended_ms - 3 * MINUTE_MS, ended_ms - 2 * MINUTE_MS, ended_ms - MINUTE_MS]


async def test_nothing_comes_from_the_future(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)

    assert await exchange.fetch_ohlcv("BTC/USDT", "1m", since=FORMING_MS + MINUTE_MS, limit=10) == []


async def test_weeks_open_on_monday(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)

    rows = await exchange.fetch_ohlcv("BTC/USDT", "1w", limit=2)

    assert [row[0] for row in rows] == [1_777_248_000_000, 1_777_852_800_000]  # 2026-04-27 and 2026-05-04


@PRODUCTS
async def test_an_unknown_symbol_is_a_bad_symbol(sandbox: Sandbox, connect: Connect, name: str, symbol: str) -> None:
    exchange = await connect(name, sandbox)
    await exchange.load_markets()
    exchange.markets[symbol]["id"] = "NOSUCH"

    with pytest.raises(ccxt.BadSymbol, match="-1121"):
        await exchange.fetch_ohlcv(symbol, "1m")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("interval=1m", -1102),
        ("symbol=BTCUSDT", -1102),
        ("symbol=BTCUSDT&interval=7m", -1120),
        ("symbol=BTCUSDT&interval=1m&startTime=yesterday", -1100),
    ],
)
def test_a_wrong_parameter_is_refused_with_status_400(sandbox: Sandbox, query: str, code: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(sandbox, f"api.binance.com/api/v3/klines?{query}")

    with refused.value as response:
        assert response.status == 400
        assert json.load(response)["code"] == code


@PRODUCTS
async def test_every_request_is_on_record(sandbox: Sandbox, connect: Connect, name: str, symbol: str) -> None:
    exchange = await connect(name, sandbox)
    await exchange.load_markets()
    before = len(sandbox.requests)

    await exchange.fetch_ohlcv(symbol, "5m", since=FORMING_MS - 3_600_000, limit=7)

    (asked,) = sandbox.requests[before:]
    assert asked.host == {"binance": "api.binance.com", "binanceusdm": "fapi.binance.com"}[name]
    assert asked.path.endswith("/klines")
    assert asked.query == {
        "symbol": "BTCUSDT",
        "interval": "5m",
        "startTime": str(FORMING_MS - 3_600_000),
        "limit": "7",
    }
    assert asked.status == 200


def ask(sandbox: Sandbox, path: str) -> Any:
    with urllib.request.urlopen(f"{sandbox.url}/{path}", timeout=10) as response:
        return json.load(response)
