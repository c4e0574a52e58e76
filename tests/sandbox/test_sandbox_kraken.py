"""Kraken's habits, as ccxt's own class sees them over HTTP."""

import json
import urllib.request
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tapehouse.sandbox import Sandbox
from tests.sandbox.conftest import NOW_MS, Connect

MINUTE_MS = 60_000
DAY_MS = 86_400_000
FORMING_MS = NOW_MS // MINUTE_MS * MINUTE_MS


async def test_ccxt_loads_markets_under_their_usual_names(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("kraken", sandbox)

    markets: dict[str, Any] = await exchange.load_markets()

    assert {symbol: market["id"] for symbol, market in markets.items()} == {
        "BTC/USD": "XXBTZUSD",
        "BTC/EUR": "XXBTZEUR",
        "ETH/USD": "XETHZUSD",
        "SOL/USD": "SOLUSD",
        "QUILL/USD": "QUILLUSD",
        "RELIC/USD": "RELICUSD",
    }
    assert markets["BTC/USD"]["precision"] == {"amount": 1e-8, "price": 0.1}
    assert [symbol for symbol, market in markets.items() if not market["active"]] == ["RELIC/USD"]


async def test_server_time_comes_in_whole_seconds(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("kraken", sandbox)

    assert await exchange.fetch_time() == NOW_MS // 1000 * 1000
    assert (await exchange.fetch_status())["status"] == "ok"


async def test_the_last_720_bars_come_and_the_forming_one(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("kraken", sandbox)

    rows = await exchange.fetch_ohlcv("BTC/USD", "1m")

    assert [row[0] for row in rows] == list(range(FORMING_MS - 720 * MINUTE_MS, FORMING_MS + 1, MINUTE_MS))


async def test_an_older_since_silently_gives_the_first_of_the_last_720(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("kraken", sandbox)

    rows = await exchange.fetch_ohlcv("BTC/USD", "1m", since=FORMING_MS - 30 * DAY_MS, limit=5)

    assert [row[0] for row in rows] == [FORMING_MS - back * MINUTE_MS for back in (720, 719, 718, 717, 716)]


async def test_a_recent_since_is_kept(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("kraken", sandbox)

    rows = await exchange.fetch_ohlcv("ETH/USD", "1m", since=FORMING_MS - 3 * MINUTE_MS)

    assert [row[0] for row in rows] == [FORMING_MS - back * MINUTE_MS for back in (3, 2, 1, 0)]


async def test_minutes_without_a_trade_are_bars_without_volume(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("kraken", sandbox)

    rows = await exchange.fetch_ohlcv("QUILL/USD", "1m")

    assert [row[0] for row in rows] == [FORMING_MS - back * MINUTE_MS for back in range(720, -1, -1)]
    assert sum(row[5] == 0 for row in rows) > 500


def test_the_native_answer_has_the_shape_of_the_recorded_one(sandbox: Sandbox) -> None:
    answer = ask(sandbox, "0/public/OHLC?pair=XBTUSD&interval=60")

    assert answer["error"] == []
    assert list(answer["result"]) == ["XXBTZUSD", "last"]
    rows = answer["result"]["XXBTZUSD"]
    assert [type(value) for value in rows[0]] == [int, str, str, str, str, str, str, int]
    assert answer["result"]["last"] == rows[-2][0]
    low, average, high = (float(rows[0][column]) for column in (3, 5, 2))
    assert low <= average <= high


async def test_an_unknown_pair_is_a_bad_symbol_with_status_200(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("kraken", sandbox)
    await exchange.load_markets()
    exchange.markets["BTC/USD"]["id"] = "NOSUCH"

    with pytest.raises(ccxt.ExchangeError, match="EQuery:Unknown asset pair"):
        await exchange.fetch_ohlcv("BTC/USD", "1m")

    assert sandbox.requests[-1].status == 200


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("0/public/OHLC?pair=XBTUSD&interval=7", "EGeneral:Invalid arguments"),
        ("0/public/OHLC?pair=XBTUSD&since=monday", "EGeneral:Invalid arguments"),
        ("0/public/Nothing", "EGeneral:Unknown method"),
    ],
)
def test_errors_come_in_the_envelope(sandbox: Sandbox, path: str, error: str) -> None:
    assert ask(sandbox, path) == {"error": [error]}


def ask(sandbox: Sandbox, path: str) -> Any:
    with urllib.request.urlopen(f"{sandbox.url}/api.kraken.com/{path}", timeout=10) as response:
        return json.load(response)
