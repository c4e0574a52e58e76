"""Request limits: each exchange's rule by a clock of our own, and the refusals as ccxt meets them."""

import ccxt.async_support as ccxt
import pytest

from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.sandbox.limits import DecayingCounter, Refusal, WeightPerMinute
from tests.sandbox.conftest import NOW_MS, Connect, Exchange
from tests.sandbox.http import get_with_headers


def test_weights_add_up_within_a_minute_of_the_clock() -> None:
    limiter = WeightPerMinute(10)

    assert [limiter.admit(4, 100.0 + second) for second in range(2)] == [None, None]
    assert limiter.admit(4, 105.5) == Refusal(retry_after_s=15)
    assert limiter.used == 12
    assert limiter.admit(4, 120.0) is None
    assert limiter.used == 4


def test_going_on_after_429_becomes_a_ban_of_two_minutes() -> None:
    limiter = WeightPerMinute(1)
    limiter.admit(1, 0.0)

    refusals = [limiter.admit(1, 1.0) for _ in range(21)]

    assert refusals[:20] == [Refusal(retry_after_s=59)] * 20
    assert refusals[20] == Refusal(retry_after_s=120, banned=True)
    assert limiter.admit(1, 60.0) == Refusal(retry_after_s=61, banned=True)
    assert limiter.admit(1, 121.0) is None


def test_a_counter_falls_steadily() -> None:
    limiter = DecayingCounter(3, per_s=1)

    assert [limiter.admit(50.0) for _ in range(4)] == [None, None, None, Refusal(retry_after_s=1)]
    assert limiter.admit(51.0) is None
    assert limiter.admit(51.5) == Refusal(retry_after_s=1)


async def ask_often(exchange: Exchange, symbol: str) -> None:
    """Often enough to pass the limit even where a new minute begins in between."""
    for _ in range(12):
        await exchange.fetch_ohlcv(symbol, "1m", limit=1)


async def test_binance_refuses_with_429_and_retry_after(connect: Connect) -> None:
    # ccxt's market list weighs 20, each page 2.
    with Sandbox(generated_markets(seed=7), limits={"binance": 21}) as sandbox:
        exchange = await connect("binance", sandbox)
        exchange.options["fetchMarkets"] = {"types": ["spot"]}
        await exchange.load_markets()

        with pytest.raises(ccxt.DDoSProtection, match="-1003"):
            await ask_often(exchange, "BTC/USDT")

        headers = {name.lower(): value for name, value in exchange.last_response_headers.items()}
        assert 1 <= int(headers["retry-after"]) <= 60
        assert headers["x-mbx-used-weight-1m"] == "22"
        assert sandbox.requests[-1].status == 429


async def test_kraken_refuses_with_an_error_and_status_200(connect: Connect) -> None:
    # ccxt asks twice for the markets.
    with Sandbox(generated_markets(seed=7), limits={"kraken": 3}) as sandbox:
        exchange = await connect("kraken", sandbox)
        await exchange.load_markets()

        with pytest.raises(ccxt.DDoSProtection, match="EAPI:Rate limit exceeded"):
            await ask_often(exchange, "BTC/USD")

        assert sandbox.requests[-1].status == 200


@pytest.mark.parametrize(
    ("request_path", "weight"),
    [
        ("api.binance.com/api/v3/aggTrades?symbol=BTCUSDT", 4),
        ("api.binance.com/api/v3/depth?symbol=BTCUSDT", 5),
        ("api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=101", 25),
        ("api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000", 50),
        ("api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5000", 250),
        ("fapi.binance.com/fapi/v1/aggTrades?symbol=BTCUSDT", 20),
        ("fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=50", 2),
        ("fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=100", 5),
        ("fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT", 10),
        ("fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000", 20),
    ],
)
def test_binance_counts_the_published_weights(request_path: str, weight: int) -> None:
    with Sandbox(generated_markets(seed=7)[:9], clock_ms=lambda: NOW_MS) as sandbox:
        _, headers = get_with_headers(sandbox, request_path)

    assert headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
