"""Binance's streams: what is recorded comes as it was recorded, and agrees with what HTTP answers."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import pytest
import pytest_asyncio

from tapehouse.errors import InputError
from tapehouse.sandbox import Market, ReplayClock, Sandbox, generated_markets, recorded_trading
from tests.sandbox.conftest import NOW_MS, UNLIMITED, Connect, Exchange
from tests.sandbox.http import get
from tests.sandbox.streamed import FUTURES, SPOT, opened, subscribe
from tests.sandbox.test_sandbox_trading import FOLDER, RECORDINGS, messages, recorded_trades

NAMES: Final = pytest.mark.parametrize("name", ["btcusdt", "ethusdt"])
SYMBOLS: Final = {"btcusdt": "BTC/USDT", "ethusdt": "ETH/USDT"}
needs_recordings: Final = pytest.mark.skipif(not FOLDER.exists(), reason="needs the recorded files in ../shared/data")
MINUTE_MS: Final = 60_000
PRODUCTS: Final = [
    ("binance", "BTC/USDT", "api.binance.com/api/v3"),
    ("binanceusdm", "BTC/USDT:USDT", "fapi.binance.com/fapi/v1"),
]


@pytest.fixture(scope="module")
def recorded() -> list[Market]:
    return recorded_trading(RECORDINGS)


def replayed(markets: list[Market], *, waits_for: int, speed: float = 1000.0) -> Sandbox:
    """The recorded session from its first moment on, once so many streams have been subscribed to."""
    clock = ReplayClock(min(market.history.first_ms for market in markets), speed=speed, waits_for=waits_for)
    return Sandbox(markets, limits=UNLIMITED, clock_ms=clock)


def live(*, speed: float, waits_for: int = 1) -> Sandbox:
    """Generated markets whose time goes on from NOW_MS."""
    clock = ReplayClock(NOW_MS, speed=speed, waits_for=waits_for)
    return Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=clock)


@pytest.fixture(scope="module")
def replaying() -> Iterator[tuple[str, str]]:
    """The address of a sandbox that replays the session a thousand times as fast, and what it says of its clock.

    It is a process of its own, as two busy threads would wait for each other.
    """
    command = ["sandbox", "--port", "0", "--replay", str(FOLDER.parent), "--speed", "1000"]
    with subprocess.Popen([sys.executable, "-m", "tapehouse", *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield next(process.stdout).split(" at ")[1].split()[0], next(process.stdout)
        process.terminate()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(replaying: tuple[str, str]) -> list[Any]:
    """Everything that the streams tell of the recorded session to a client that reads slowly."""
    streams = [f"{name}@{kind}" for name in SYMBOLS for kind in ("trade", "depth@100ms", "kline_1m")]
    streams.append("ethusdt@aggTrade")
    last_ms = max(recorded_trades(name)[-1][1] for name in SYMBOLS)
    last_close_ms = (last_ms // MINUTE_MS + 1) * MINUTE_MS
    url, clock = replaying
    assert "stands at 2024-08-08 23:54:15 UTC" in clock
    async with opened(url, SPOT) as socket:
        assert await socket.ask(subscribe(*streams)) == {"result": None, "id": 1}
        # All of it is due by then, and more than any buffer holds.
        await asyncio.sleep(1)
        return await socket.until(lambda m: m["E"] == last_close_ms and m["s"] == "ETHUSDT")


def recorded_books(name: str, wanted: set[int]) -> dict[int, Any]:
    """The best 20 bids and asks after each of these updates."""
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    books: dict[int, Any] = {}
    (snapshot,) = (data for data in messages(name) if "lastUpdateId" in data)
    changes = [data for data in messages(name) if data.get("u", 0) > snapshot["lastUpdateId"]]
    for change in [{"u": snapshot["lastUpdateId"], "b": snapshot["bids"], "a": snapshot["asks"]}, *changes]:
        bids.update(change["b"])
        asks.update(change["a"])
        if change["u"] in wanted:
            books[change["u"]] = [best(bids, reverse=True), best(asks, reverse=False)]
    return books


def best(side: dict[str, str], *, reverse: bool) -> list[Any]:
    levels = [[float(price), float(amount)] for price, amount in side.items() if float(amount)]
    return sorted(levels, reverse=reverse)[:20]


def of(told: list[Any], name: str, event: str) -> list[Any]:
    return [message for message in told if (message["s"], message["e"]) == (name.upper(), event)]


@needs_recordings
@NAMES
def test_every_recorded_trade_is_told_once_in_order(told: list[Any], name: str) -> None:
    rows = of(told, name, "trade")

    assert [(m["t"], m["T"], Decimal(m["p"]), Decimal(m["q"]), m["m"]) for m in rows] == recorded_trades(name)
    recorded = next(m for m in messages(name) if m.get("e") == "trade")
    # An event is a millisecond later than its trade, or not.
    assert {**rows[0], "E": recorded["E"]} == recorded


@needs_recordings
def test_an_aggregate_is_a_trade_with_the_same_id(told: list[Any]) -> None:
    rows = of(told, "ethusdt", "aggTrade")

    assert [(m["a"], m["f"], m["l"], m["T"], m["p"], m["q"], m["m"]) for m in rows] == [
        (m["t"], m["t"], m["t"], m["T"], m["p"], m["q"], m["m"]) for m in of(told, "ethusdt", "trade")
    ]


@needs_recordings
@NAMES
def test_every_change_of_the_book_is_told_as_it_was_recorded(told: list[Any], name: str) -> None:
    snapshot = next(data for data in messages(name) if "lastUpdateId" in data)
    changes = [m for m in messages(name) if m.get("u", 0) > snapshot["lastUpdateId"]]

    assert of(told, name, "depthUpdate") == changes


@needs_recordings
@NAMES
def test_a_candle_closes_as_http_gives_it(told: list[Any], recorded: list[Market], name: str) -> None:
    rows = of(told, name, "kline")
    closing = [m["k"] for m in rows if m["k"]["x"]]
    with Sandbox(recorded, limits=UNLIMITED) as sandbox:
        answered = get(sandbox, f"api.binance.com/api/v3/klines?symbol={name.upper()}&interval=1m&startTime=0")
        trades = get(sandbox, f"api.binance.com/api/v3/aggTrades?symbol={name.upper()}&startTime={closing[3]['t']}")

    keys = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")
    assert [[candle[key] for key in keys] for candle in closing] == answered
    assert [m["E"] for m in rows if m["k"]["x"]] == [candle["T"] + 1 for candle in closing]
    assert closing[3]["f"] == trades[0]["a"]
    assert [late["f"] - early["L"] for early, late in pairwise(closing)] == [1] * (len(closing) - 1)


@needs_recordings
@NAMES
def test_an_open_candle_holds_the_trades_so_far(told: list[Any], name: str) -> None:
    trades = recorded_trades(name)
    forming = [m for m in of(told, name, "kline") if not m["k"]["x"]]

    assert len(forming) > 250
    for message in forming[::17]:
        candle = message["k"]
        inside = [row for row in trades if candle["t"] <= row[1] < message["E"]]
        prices = [price for _, _, price, _, _ in inside]
        assert [Decimal(candle[key]) for key in "ohlc"] == [prices[0], max(prices), min(prices), prices[-1]]
        assert Decimal(candle["v"]) == sum(amount for _, _, _, amount, _ in inside)
        assert (candle["f"], candle["L"], candle["n"]) == (inside[0][0], inside[-1][0], len(inside))


@needs_recordings
def test_all_streams_of_a_connection_are_told_in_order_of_time(told: list[Any]) -> None:
    times_ms = [message["T"] if "T" in message else message["E"] for message in told]

    # What one look at the clock finds is in order; one that is a millisecond later may find a trade of the last.
    assert all(later >= earlier - 1 for earlier, later in pairwise(times_ms))


@needs_recordings
async def test_ccxt_gets_every_recorded_trade(recorded: list[Market], watch: Connect) -> None:
    expected = {name: recorded_trades(name) for name in SYMBOLS}
    with replayed(recorded, waits_for=2) as sandbox:
        exchange = await watch("binance", sandbox)
        # ccxt keeps the last 1,000 only, however many came before it could give them out.
        exchange.options["tradesLimit"] = 10**6
        got = await asyncio.gather(*(trades_until(exchange, SYMBOLS[name], expected[name][-1][0]) for name in SYMBOLS))

    for trades, rows in zip(got, expected.values(), strict=True):
        assert [(int(t["id"]), t["timestamp"], t["price"], t["amount"], t["side"] == "sell") for t in trades] == [
            (trade_id, time_ms, float(price), float(amount), sold) for trade_id, time_ms, price, amount, sold in rows
        ]


async def trades_until(exchange: Exchange, symbol: str, last_id: int) -> list[Any]:
    """The trades that ccxt watches, up to the one with that id."""
    trades: list[Any] = []
    while not trades or int(trades[-1]["id"]) < last_id:
        trades += await exchange.watch_trades(symbol)
    return trades


@needs_recordings
async def test_ccxt_keeps_the_recorded_book(recorded: list[Market], watch: Connect) -> None:
    last_update = max(message.get("u", 0) for message in messages("btcusdt"))
    seen: dict[int, Any] = {}
    with replayed(recorded, waits_for=1, speed=300.0) as sandbox:
        exchange = await watch("binance", sandbox)
        while last_update not in seen:
            book = await exchange.watch_order_book("BTC/USDT")
            # ccxt goes on to change the levels that it has given.
            seen[book["nonce"]] = [[list(level) for level in book[side][:20]] for side in ("bids", "asks")]

    chosen = {*list(seen)[:: len(seen) // 30], last_update}
    assert {nonce: seen[nonce] for nonce in chosen} == recorded_books("btcusdt", chosen)


@pytest.mark.parametrize(("name", "symbol", "host"), PRODUCTS)
async def test_ccxt_keeps_the_book_that_http_has(watch: Connect, name: str, symbol: str, host: str) -> None:
    with live(speed=20) as sandbox:
        exchange = await watch(name, sandbox)
        seen: dict[int, Any] = {}
        while len(seen) < 40:
            book = await exchange.watch_order_book(symbol)
            seen[book["nonce"]] = [[list(level) for level in book[side]] for side in ("bids", "asks")]

    now_ms = 0
    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: now_ms) as sandbox:
        for nonce in sorted(seen)[::8]:
            now_ms = nonce * 100
            answered = get(sandbox, f"{host}/depth?symbol=BTCUSDT&limit=1000")
            assert answered["lastUpdateId"] == nonce
            # Levels that better ones pushed below the thousandth are known to the client still.
            assert [side[:1000] for side in seen[nonce]] == [
                [[float(price), float(amount)] for price, amount in answered[side]] for side in ("bids", "asks")
            ]


@pytest.mark.parametrize(("name", "symbol", "host"), PRODUCTS)
async def test_ccxt_watches_trades_and_candles_that_are_those_of_http(
    watch: Connect, connect: Connect, name: str, symbol: str, host: str
) -> None:
    with live(speed=100, waits_for=2) as sandbox:
        exchange = await watch(name, sandbox)
        exchange.options["watchTradesForSymbols"] = {"name": "aggTrade"}

        async def candles_until(end_ms: int) -> dict[int, list[float]]:
            seen: dict[int, list[float]] = {}
            while max(seen, default=0) < end_ms:
                seen |= {row[0]: list(row) for row in await exchange.watch_ohlcv(symbol, "1m")}
            return seen

        async def trades_to(end_ms: int) -> list[Any]:
            trades: list[Any] = []
            while not trades or trades[-1]["timestamp"] < end_ms:
                trades += await exchange.watch_trades(symbol)
            return trades

        trades, candles = await asyncio.gather(trades_to(NOW_MS + 3 * MINUTE_MS), candles_until(NOW_MS + 3 * MINUTE_MS))

    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: NOW_MS + 30 * MINUTE_MS) as sandbox:
        other = await connect(name, sandbox)
        answered = await other.fetch_trades(symbol, since=NOW_MS, limit=len(trades))
        rows = await other.fetch_ohlcv(symbol, "1m", since=min(candles))
    keys = ("id", "timestamp", "price", "amount", "side")
    assert [[trade[key] for key in keys] for trade in trades] == [[trade[key] for key in keys] for trade in answered]
    closed = sorted(candles)[:-1]
    assert closed == [min(candles) + number * MINUTE_MS for number in range(4)]
    assert [candles[open_ms] for open_ms in closed] == rows[: len(closed)]


async def test_a_slower_stream_of_the_book_tells_the_same_in_fewer_messages() -> None:
    with live(speed=50, waits_for=2) as sandbox:
        async with opened(sandbox, SPOT) as socket:
            await socket.ask(subscribe("btcusdt@depth", "btcusdt@depth@100ms"))
            messages = await socket.until(lambda m: m["E"] % 1000 == 0 and m["E"] >= NOW_MS + 8000)
            messages.append(await socket.next())

    slow = [m for m in messages if m["u"] > m["U"]]
    quick = [m for m in messages if m["u"] == m["U"]]
    assert [m["u"] - m["U"] for m in slow] == [9] * 9
    for message in slow:
        merged: list[dict[str, str]] = [{}, {}]
        for part in (m for m in quick if message["U"] <= m["u"] <= message["u"]):
            merged[0].update(part["b"])
            merged[1].update(part["a"])
        if message is not slow[0]:
            assert [dict(message["b"]), dict(message["a"])] == merged


@pytest.mark.parametrize(("path", "host"), [(SPOT, "api.binance.com/api/v3"), (FUTURES, "fapi.binance.com/fapi/v1")])
async def test_the_best_levels_are_those_of_the_book(path: str, host: str) -> None:
    with live(speed=20) as sandbox:
        async with opened(sandbox, path) as socket:
            await socket.ask(subscribe("btcusdt@bookTicker"))
            (message,) = [await socket.next() for _ in range(9)][-1:]

    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: message["u"] * 100) as sandbox:
        book = get(sandbox, f"{host}/depth?symbol=BTCUSDT&limit=5")
    assert [message["b"], message["B"]] == book["bids"][0]
    assert [message["a"], message["A"]] == book["asks"][0]


def test_a_clock_stands_until_enough_is_subscribed_to() -> None:
    clock = ReplayClock(NOW_MS, speed=1000, waits_for=3)

    clock.note_subscriptions(2)
    assert clock() == NOW_MS
    clock.note_subscriptions(1)
    time.sleep(0.01)
    assert clock() >= NOW_MS + 10_000


def test_a_clock_may_go_on_at_once() -> None:
    started, free = ReplayClock(NOW_MS, speed=1000), ReplayClock(NOW_MS, speed=1000, waits_for=0)

    started.start()
    time.sleep(0.01)
    assert started() >= NOW_MS + 10_000
    assert free() >= NOW_MS + 10_000


@pytest.mark.parametrize("speed", [0, 0.5, 1001])
def test_a_speed_that_makes_no_sense_is_refused(speed: float) -> None:
    with pytest.raises(InputError, match="1 to 1000"):
        ReplayClock(NOW_MS, speed=speed)
