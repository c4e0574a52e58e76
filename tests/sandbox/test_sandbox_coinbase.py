"""Coinbase Exchange's habits, as ccxt's own class sees them over HTTP."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tapehouse.sandbox import Sandbox
from tests.sandbox.conftest import NOW_MS, Connect

MINUTE_MS = 60_000
FORMING_MS = NOW_MS // MINUTE_MS * MINUTE_MS


async def test_ccxt_loads_the_markets_and_the_time(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("coinbaseexchange", sandbox)

    markets: dict[str, Any] = await exchange.load_markets()

    assert list(markets) == ["BTC/USD", "ETH/USD", "SOL/USD", "QUILL/USD"]
    assert markets["BTC/USD"]["precision"] == {"amount": 1e-8, "price": 0.01}
    assert await exchange.fetch_time() == NOW_MS


async def test_minutes_without_a_trade_are_left_out(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("coinbaseexchange", sandbox)
    since = FORMING_MS - 299 * MINUTE_MS

    rows = await exchange.fetch_ohlcv("QUILL/USD", "1m", since=since, limit=300)

    assert 5 < len(rows) < 150
    assert all(row[5] > 0 for row in rows)


async def test_the_open_candle_is_the_last_of_the_latest_300(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("coinbaseexchange", sandbox)

    rows = await exchange.fetch_ohlcv("BTC/USD", "1h")

    hour_ms = 60 * MINUTE_MS
    assert [row[0] for row in rows] == [NOW_MS // hour_ms * hour_ms - back * hour_ms for back in range(299, -1, -1)]


def test_rows_come_newest_first_between_inclusive_bounds(sandbox: Sandbox) -> None:
    address = f"{sandbox.url}/api.exchange.coinbase.com/products/BTC-USD/candles"
    query = "granularity=60&start=2026-05-05T10:00:00.000Z&end=2026-05-05T10:03:00.000Z"
    with urllib.request.urlopen(f"{address}?{query}", timeout=10) as response:
        rows = json.load(response)

    start_s = 1_777_975_200
    assert [row[0] for row in rows] == [start_s + 180, start_s + 120, start_s + 60, start_s]
    assert all(low <= min(opened, close) <= max(opened, close) <= high for _, low, high, opened, close, _ in rows)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("products/BTC-USD/candles?granularity=60&start=2026-05-05T00:00:00Z&end=2026-05-05T05:01:00Z", 400),
        ("products/BTC-USD/candles?granularity=61", 400),
        ("products/BTC-USD/candles?granularity=60&start=soon", 400),
        ("products/NO-SUCH/candles?granularity=60", 404),
        ("nothing", 404),
    ],
)
def test_what_it_does_not_serve_is_refused_with_a_message(sandbox: Sandbox, path: str, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{sandbox.url}/api.exchange.coinbase.com/{path}", timeout=10)

    with refused.value as response:
        assert response.status == status
        assert json.load(response)["message"]
