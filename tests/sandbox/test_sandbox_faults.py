"""Each fault, as ccxt's own classes meet it over HTTP."""

import asyncio
import json
import math
import urllib.request
from collections.abc import Callable
from typing import Any, Final

import ccxt.async_support as ccxt
import pytest

from tapehouse.errors import InputError
from tapehouse.sandbox import Fault, Sandbox
from tapehouse.sandbox.faults import FaultKind
from tests.sandbox.conftest import NOW_MS, Connect, Exchange

MINUTE_MS = 60_000
FORMING_MS = NOW_MS // MINUTE_MS * MINUTE_MS
SINCE_MS = FORMING_MS - 100 * MINUTE_MS
Rows = list[list[Any]]


async def page(exchange: Exchange, *, limit: int = 20) -> Rows:
    return await exchange.fetch_ohlcv("BTC/USDT", "1m", since=SINCE_MS, limit=limit)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, ccxt.DDoSProtection),
        (418, ccxt.DDoSProtection),
        (403, ccxt.ExchangeNotAvailable),
        (451, ccxt.ExchangeNotAvailable),
        (500, ccxt.ExchangeNotAvailable),
        (502, ccxt.ExchangeNotAvailable),
        (503, ccxt.ExchangeNotAvailable),
        (504, ccxt.RequestTimeout),
    ],
)
async def test_a_status_is_ccxts_error_for_as_often_as_asked(
    sandbox: Sandbox, connect: Connect, status: int, error: type[Exception]
) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    sandbox.faults.add(Fault("status", status=status, retry_after_s=7, count=2, path="klines"))

    for _ in range(2):
        with pytest.raises(error):
            await page(exchange)
    assert exchange.last_response_headers["Retry-After"] == "7"
    assert len(await page(exchange)) == 20
    assert [asked.status for asked in sandbox.requests[-3:]] == [status, status, 200]


async def test_a_hanging_request_times_out(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    exchange.timeout = 100
    sandbox.faults.add(Fault("hang", path="klines"))

    with pytest.raises(ccxt.RequestTimeout):
        await page(exchange)


async def test_a_dropped_connection_is_a_network_error(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    sandbox.faults.add(Fault("drop"))

    with pytest.raises(ccxt.NetworkError):
        await page(exchange)
    assert sandbox.requests[-1].status == 0


async def test_aiohttp_asks_again_by_itself_after_a_single_drop(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    sandbox.faults.add(Fault("drop", count=1))

    assert len(await page(exchange)) == 20
    assert [asked.status for asked in sandbox.requests[-2:]] == [0, 200]


@pytest.mark.parametrize("kind", ["html", "broken_json"])
async def test_what_is_no_json_makes_ccxt_give_rows_of_none(
    sandbox: Sandbox, connect: Connect, kind: FaultKind
) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    sandbox.faults.add(Fault(kind))

    rows = await exchange.fetch_ohlcv("BTC/USDT", "1m")

    assert rows
    assert all(row[1:] == [None] * 5 for row in rows)


@pytest.mark.parametrize("kind", ["html", "broken_json", "empty_body"])
async def test_what_is_no_json_makes_ccxt_give_no_rows_where_since_is_given(
    sandbox: Sandbox, connect: Connect, kind: FaultKind
) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    sandbox.faults.add(Fault(kind))

    assert await page(exchange) == []
    assert sandbox.requests[-1].status == 200


async def test_a_skewed_clock_shows_in_server_time(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)
    sandbox.faults.add(Fault("clock_skew", skew_ms=-90_000))

    assert await exchange.fetch_time() == NOW_MS - 90_000


def minutes(rows: Rows) -> list[int]:
    return [(row[0] - SINCE_MS) // MINUTE_MS for row in rows]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("short_page", rows=15), [0, 1, 2, 3, 4]),
        (Fault("missing_rows", rows=2), [*range(9), *range(11, 20)]),
        (Fault("missing_rows", start_ms=SINCE_MS, end_ms=SINCE_MS + 3 * MINUTE_MS), [*range(3, 20)]),
        # ccxt cuts what comes to the limit.
        (Fault("duplicate_rows", rows=2), [*range(9), 9, 9, 10, 10, *range(11, 18)]),
    ],
)
async def test_rows_are_missing_or_doubled(
    sandbox: Sandbox, connect: Connect, fault: Fault, expected: list[int]
) -> None:
    exchange = await connect("binance", sandbox)
    sandbox.faults.add(fault)

    assert minutes(await page(exchange)) == expected


def test_rows_are_out_of_order(sandbox: Sandbox) -> None:
    """Asked natively: ccxt sorts what it gets."""
    sandbox.faults.add(Fault("unordered_rows", rows=2))

    address = f"{sandbox.url}/api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={SINCE_MS}&limit=6"
    with urllib.request.urlopen(address, timeout=10) as response:
        rows = json.load(response)

    assert minutes(rows) == [2, 3, 0, 1, 4, 5]


IS_BAD: Final[dict[str, Callable[[list[Any]], bool]]] = {
    "negative_price": lambda row: row[3] < 0,
    "zero_price": lambda row: row[3] == 0,
    "high_below_low": lambda row: row[2] < row[3],
    "negative_volume": lambda row: row[5] < 0,
    "nan_price": lambda row: math.isnan(row[4]),
    "null_price": lambda row: row[4] is None,
    "text_price": lambda row: row[4] is None,
}


@pytest.mark.parametrize("kind", IS_BAD)
@pytest.mark.parametrize(("name", "symbol"), [("binance", "BTC/USDT"), ("kraken", "BTC/USD")])
async def test_bad_values_reach_the_caller(
    sandbox: Sandbox, connect: Connect, name: str, symbol: str, kind: FaultKind
) -> None:
    exchange = await connect(name, sandbox)
    good = await exchange.fetch_ohlcv(symbol, "1m", since=SINCE_MS, limit=20)
    bad_ms = SINCE_MS + 5 * MINUTE_MS
    sandbox.faults.add(Fault(kind, symbol=symbol, start_ms=bad_ms, end_ms=bad_ms + 1))

    rows = await exchange.fetch_ohlcv(symbol, "1m", since=SINCE_MS, limit=20)

    assert IS_BAD[kind](rows[5])
    assert rows[:5] + rows[6:] == good[:5] + good[6:]


async def test_a_spike_is_a_possible_candle_with_a_high_that_was_not(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)
    good = await page(exchange)
    sandbox.faults.add(Fault("price_spike", start_ms=SINCE_MS + 5 * MINUTE_MS, end_ms=SINCE_MS + 6 * MINUTE_MS))

    rows = await page(exchange)

    assert rows[5][2] == pytest.approx(1.1 * good[5][2], abs=0.05)
    assert rows[5][:2] + rows[5][3:] == good[5][:2] + good[5][3:]
    assert rows[:5] + rows[6:] == good[:5] + good[6:]


# Binance gives candles oldest first, bybit newest first.
@pytest.mark.parametrize("name", ["binance", "bybit"])
async def test_a_frozen_price_is_that_of_the_candle_before(sandbox: Sandbox, connect: Connect, name: str) -> None:
    exchange = await connect(name, sandbox)
    good = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=SINCE_MS, limit=20)
    sandbox.faults.add(Fault("frozen_price", start_ms=SINCE_MS + 5 * MINUTE_MS, end_ms=SINCE_MS + 8 * MINUTE_MS))

    rows = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=SINCE_MS, limit=20)

    assert rows[5:8] == [[row[0], *[good[4][4]] * 4, 0.0] for row in good[5:8]]
    assert rows[:5] + rows[8:] == good[:5] + good[8:]


@pytest.mark.parametrize(("kind", "moved_ms"), [("misaligned_time", 7_000), ("future_time", 864_000_000_000)])
async def test_bad_times_reach_the_caller(sandbox: Sandbox, connect: Connect, kind: FaultKind, moved_ms: int) -> None:
    exchange = await connect("binance", sandbox)
    bad_ms = SINCE_MS + 5 * MINUTE_MS
    sandbox.faults.add(Fault(kind, start_ms=bad_ms, end_ms=bad_ms + 1))

    times = {row[0] for row in await page(exchange)}

    assert bad_ms not in times
    assert bad_ms + moved_ms in times


async def test_corrected_rows_are_other_valid_candles_until_the_fault_is_lifted(
    sandbox: Sandbox, connect: Connect
) -> None:
    exchange = await connect("binance", sandbox)
    before = await page(exchange)
    sandbox.faults.add(Fault("corrected_rows", rows=3))

    corrected = await page(exchange)
    sandbox.faults.clear()
    after = await page(exchange)

    assert corrected[:17] == before[:17]
    for old, new in zip(before[17:], corrected[17:], strict=True):
        assert new == [*old[:4], old[2], pytest.approx(old[5] + 1, abs=1e-9)]
    assert after == before


async def test_a_fault_strikes_only_its_host_path_and_symbol(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    sandbox.faults.add(Fault("status", status=500, host="api.kraken.com"))
    sandbox.faults.add(Fault("status", status=500, path="exchangeInfo"))
    sandbox.faults.add(Fault("status", status=500, symbol="ETH/USDT"))

    assert len(await page(exchange)) == 20
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await exchange.fetch_ohlcv("ETH/USDT", "1m")


async def test_a_row_fault_is_not_used_up_by_answers_without_rows(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)
    sandbox.faults.add(Fault("missing_rows", rows=4, count=1))

    await exchange.load_markets()
    await exchange.fetch_time()

    assert len(await page(exchange)) == 16
    assert len(await page(exchange)) == 20


async def struck_minutes(exchange: Exchange, order: list[int]) -> set[int]:
    """Which of single-candle requests fail, asked all at once in that order."""

    async def ask(minute: int) -> bool:
        try:
            await exchange.fetch_ohlcv("BTC/USDT", "1m", since=SINCE_MS + minute * MINUTE_MS, limit=1)
        except ccxt.ExchangeNotAvailable:
            return True
        return False

    failed = await asyncio.gather(*(ask(minute) for minute in order))
    return {minute for minute, fail in zip(order, failed, strict=True) if fail}


async def test_a_share_of_requests_fails_the_same_way_in_whatever_order_they_come(
    sandbox: Sandbox, connect: Connect
) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    fault = Fault("status", status=503, probability=0.2, seed=3)

    sandbox.faults.add(fault)
    forwards = await struck_minutes(exchange, list(range(80)))
    again = await struck_minutes(exchange, list(range(80)))
    sandbox.faults.clear()
    sandbox.faults.add(fault)
    backwards = await struck_minutes(exchange, list(range(79, -1, -1)))

    assert 6 <= len(forwards) <= 28
    assert backwards == forwards
    assert again != forwards


@pytest.mark.parametrize("fault", [{"kind": "sunspot"}, {"kind": "hang", "probability": 2}])
def test_a_fault_that_makes_no_sense_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Fault(**fault)
