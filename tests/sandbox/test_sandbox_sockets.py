"""The sandbox's WebSockets: requests and their answers, pings, the marker, faults, markets that change meanwhile."""

import asyncio
import json
import statistics
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import aiohttp
import ccxt.pro as ccxt
import pytest

from tapehouse.config import SANDBOX_HEADER
from tapehouse.errors import InputError
from tapehouse.sandbox import Fault, ReplayClock, Sandbox, generated_markets
from tapehouse.sandbox.dialects.binance_stream import SPOT_STREAMS
from tests.sandbox.conftest import NOW_MS, UNLIMITED, Connect
from tests.sandbox.http import get
from tests.sandbox.streamed import SPOT, opened, subscribe

MINUTE_MS: Final = 60_000
DEPTH: Final = "btcusdt@depth@100ms"
INVALID_STREAM: Final = {"code": 2, "msg": "Invalid request: invalid stream"}


def running(speed: float) -> Sandbox:
    """Generated markets whose time goes on from NOW_MS, so many times as fast, once a stream is subscribed to."""
    return Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=ReplayClock(NOW_MS, speed=speed))


@pytest.fixture
def live() -> Iterator[Sandbox]:
    with running(10) as sandbox:
        yield sandbox


@pytest.fixture
def fast() -> Iterator[Sandbox]:
    with running(100) as sandbox:
        yield sandbox


async def forever(watch: Callable[[], Awaitable[object]]) -> None:
    while True:
        await watch()


async def test_streams_are_subscribed_to_listed_and_left(sandbox: Sandbox) -> None:
    async with opened(sandbox, SPOT) as socket:
        subscribed = await socket.ask(subscribe("btcusdt@trade", DEPTH, request_id=3))
        listed = await socket.ask({"method": "LIST_SUBSCRIPTIONS", "id": 4})
        left = await socket.ask({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 5})
        rest = await socket.ask({"method": "LIST_SUBSCRIPTIONS", "id": 6})

    assert subscribed == {"result": None, "id": 3}
    assert listed == {"result": ["btcusdt@trade", DEPTH], "id": 4}
    assert left == {"result": None, "id": 5}
    assert rest == {"result": [DEPTH], "id": 6}


async def test_a_stream_of_an_unknown_market_is_accepted_and_silent(sandbox: Sandbox) -> None:
    async with opened(sandbox, SPOT) as socket:
        assert await socket.ask(subscribe("nosuch@trade")) == {"result": None, "id": 1}
        assert await socket.ask({"method": "LIST_SUBSCRIPTIONS", "id": 2}) == {"result": [], "id": 2}


@pytest.mark.parametrize(
    ("request_", "error", "request_id"),
    [
        (subscribe("btcusdt@tade"), INVALID_STREAM, 1),
        (subscribe("btcusdt@kline_7m"), INVALID_STREAM, 1),
        ({"method": "SUBSCRIBE", "params": [7], "id": 1}, INVALID_STREAM, 1),
        ({"method": "SUBSCRIBE", "id": 1}, INVALID_STREAM, 1),
        (
            {"method": "SUBSCRIBE", "params": [], "id": "x"},
            {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"},
            None,
        ),
        ("{", {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}, None),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    sandbox: Sandbox, request_: object, error: object, request_id: int | None
) -> None:
    async with opened(sandbox, SPOT) as socket:
        assert await socket.ask(request_) == {"error": error, "id": request_id}


async def test_an_unknown_method_is_refused(sandbox: Sandbox) -> None:
    async with opened(sandbox, SPOT) as socket:
        answer = await socket.ask({"method": "JUMP", "id": 1})

    assert (answer["error"]["code"], answer["id"]) == (2, 1)
    assert "unknown variant JUMP" in answer["error"]["msg"]


async def test_the_opened_connection_says_that_it_is_the_sandbox(sandbox: Sandbox, watch: Connect) -> None:
    exchange = await watch("binance", sandbox)
    watched = exchange.watch_trades("BTC/USDT")
    # The clock stands still, so that nothing is told.
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(watched, 0.5)

    (client,) = exchange.clients.values()
    assert client.connection._response.headers[SANDBOX_HEADER] == "1"
    (asked,) = [asked for asked in sandbox.requests if asked.host == "stream.binance.com"][-1:]
    assert (asked.path, asked.status) == ("/ws/0", 101)


async def test_a_ping_is_answered(sandbox: Sandbox) -> None:
    async with opened(sandbox, SPOT) as socket:
        await socket.ping()
        frame = await socket.frame()

    assert (frame.type, frame.data) == (aiohttp.WSMsgType.PONG, b"hello")


async def test_a_client_that_answers_no_ping_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapehouse.sandbox.dialects.SPOT_STREAMS", replace(SPOT_STREAMS, ping_every_s=0.1))
    monkeypatch.setattr("tapehouse.sandbox.streams._PONG_WITHIN_S", 0.3)
    with Sandbox(generated_markets(seed=7), clock_ms=lambda: NOW_MS) as sandbox:
        async with opened(sandbox, SPOT) as socket:
            frames = [await socket.frame() for _ in range(3)]
            while frames[-1].type is aiohttp.WSMsgType.PING:
                frames.append(await socket.frame())

    assert [frame.data for frame in frames[:3]] == [str(NOW_MS).encode()] * 3
    assert frames[-1].type is aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize("path", ["stream.binance.com/elsewhere", "ws.kraken.com", "stream.bybit.com/v5/public/spot"])
async def test_there_are_no_streams_elsewhere(sandbox: Sandbox, path: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(sandbox, path):
            pass

    assert refused.value.status == 404


async def test_a_status_is_the_answer_to_the_handshake(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("status", host="stream.binance.com", status=503, retry_after_s=7, count=1))

    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(sandbox, SPOT):
            pass

    assert refused.value.headers is not None
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "7")
    async with opened(sandbox, SPOT):
        pass


async def test_a_dropped_connection_is_opened_again_by_ccxt(live: Sandbox, watch: Connect) -> None:
    exchange = await watch("binance", live)
    first = await exchange.watch_trades("BTC/USDT")
    live.faults.add(Fault("ws_drop", path="btcusdt@trade", count=1))

    with pytest.raises(ccxt.NetworkError):
        await forever(lambda: exchange.watch_trades("BTC/USDT"))
    again = await exchange.watch_trades("BTC/USDT")

    # What was told meanwhile is lost, and is there over HTTP.
    assert int(again[0]["id"]) > int(first[-1]["id"]) + 1
    missed = get(live, f"api.binance.com/api/v3/aggTrades?symbol=BTCUSDT&fromId={first[-1]['id']}&limit=1000")
    ids = [row["a"] for row in missed]
    assert ids[: int(again[0]["id"]) - ids[0] + 1] == list(range(ids[0], int(again[0]["id"]) + 1))
    assert [fault["struck"] for fault in live.faults.as_json()] == [1]


async def test_a_stalled_connection_is_silent_and_then_tells_everything(live: Sandbox) -> None:
    live.faults.add(Fault("ws_stall", stall_s=1.0, start_ms=NOW_MS + 500, count=1))

    async with opened(live, SPOT) as socket:
        await socket.ask(subscribe(DEPTH))
        messages = await socket.until(lambda message: message["E"] > NOW_MS + 300)
        # The stall begins within 20 ms of ours, and this ping falls into it: there would be a pong.
        await asyncio.sleep(0.5)
        await socket.ping()
        messages += await socket.until(lambda message: message["E"] > NOW_MS + 10_000)

    assert live.faults.as_json()[0]["struck"] == 1
    updates = [message["u"] for message in messages]
    assert updates == list(range(updates[0], updates[0] + len(updates)))


async def test_ccxt_gives_a_stalled_connection_up(live: Sandbox, watch: Connect) -> None:
    exchange = await watch("binance", live)
    exchange.streaming["keepAlive"] = 100
    await exchange.watch_order_book("BTC/USDT")
    live.faults.add(Fault("ws_stall", stall_s=60))

    with pytest.raises(ccxt.RequestTimeout):
        await forever(lambda: exchange.watch_order_book("BTC/USDT"))


async def test_a_gap_leaves_one_change_of_the_book_out(live: Sandbox) -> None:
    live.faults.add(Fault("ws_gap", start_ms=NOW_MS + 500, count=1))

    async with opened(live, SPOT) as socket:
        await socket.ask(subscribe("btcusdt@trade", DEPTH))
        messages = await socket.until(lambda message: message["E"] > NOW_MS + 2000)

    told = [(message["U"], message["u"]) for message in messages if message["e"] == "depthUpdate"]
    (gap,) = [(u, later) for (_, u), (later, _) in pairwise(told) if later != u + 1]
    left_out = (NOW_MS + 500) // 100 + 1
    assert gap == (left_out - 1, left_out + 1)


async def test_ccxt_finds_the_gap_and_makes_the_book_anew(live: Sandbox, watch: Connect) -> None:
    exchange = await watch("binance", live)
    await exchange.watch_order_book("BTC/USDT")
    # Of what the book does not have yet, however far what is pushed is behind.
    live.faults.add(Fault("ws_gap", start_ms=await exchange.fetch_time() + 1000, count=1))

    with pytest.raises(ccxt.ChecksumError):
        await forever(lambda: exchange.watch_order_book("BTC/USDT"))
    book = await exchange.watch_order_book("BTC/USDT")

    assert book["bids"][0][0] < book["asks"][0][0]


async def test_a_message_comes_twice(fast: Sandbox) -> None:
    fast.faults.add(Fault("ws_duplicate", path="@trade", symbol="BTC/USDT", count=2))

    async with opened(fast, SPOT) as socket:
        await socket.ask(subscribe("btcusdt@trade", "ethusdt@trade"))
        messages = await socket.until(lambda message: message["E"] > NOW_MS + 30_000)

    ids = [message["t"] for message in messages if message["s"] == "BTCUSDT"]
    assert ids == sorted([*range(ids[0], ids[-1] + 1), ids[0], ids[0] + 1])
    others = [message["t"] for message in messages if message["s"] == "ETHUSDT"]
    assert others == list(range(others[0], others[-1] + 1))


async def test_a_fault_of_streams_leaves_http_alone(live: Sandbox) -> None:
    live.faults.add(Fault("ws_drop"))

    assert get(live, "api.binance.com/api/v3/time") == {"serverTime": NOW_MS}
    assert live.faults.as_json()[0]["struck"] == 0


async def test_control_puts_faults_of_streams_in_force(live: Sandbox) -> None:
    control(live, "faults", {"kind": "ws_stall", "stall_s": 0.01, "path": "@trade", "count": 1})

    async with opened(live, SPOT) as socket:
        await socket.ask(subscribe("btcusdt@trade"))
        await socket.next()

    assert live.faults.as_json()[0]["struck"] == 1


async def test_a_burst_is_told_at_once_and_answered_over_http(fast: Sandbox) -> None:
    async with opened(fast, SPOT) as socket:
        await socket.ask(subscribe("btcusdt@aggTrade", "btcusdt@kline_1m"))
        before = await socket.until(lambda message: message["e"] == "aggTrade")
        fast.burst("binance", "BTC/USDT", trades=50_000)
        burst = await socket.until(
            lambda message: message["e"] == "aggTrade" and message["a"] > before[-1]["a"] + 50_000
        )
        at_ms = statistics.mode(message["T"] for message in burst if message["e"] == "aggTrade")
        closed = await socket.until(lambda message: message["e"] == "kline" and message["E"] > at_ms + MINUTE_MS)

    told = [message for message in burst if message["e"] == "aggTrade"]
    ids = [message["a"] for message in told]
    assert ids == list(range(before[-1]["a"] + 1, ids[-1] + 1))
    times_ms = [message["T"] for message in told]
    assert times_ms == sorted(times_ms)
    assert times_ms.count(at_ms) >= 50_000
    rows = [row for page in pages(fast, ids[0]) for row in page][: len(told)]
    keys = ("a", "T", "p", "q", "m")
    assert [[row[key] for key in keys] for row in rows] == [[message[key] for key in keys] for message in told]
    klines = [message["k"] for message in (*burst, *closed) if message["e"] == "kline"]
    (candle,) = [candle for candle in klines if candle["x"] and candle["t"] <= at_ms <= candle["T"]]
    path = f"api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={candle['t']}&limit=1"
    assert get(fast, path) == [[candle[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")]]
    assert candle["n"] > 50_000


async def test_control_lets_a_market_burst(live: Sandbox) -> None:
    async with opened(live, SPOT) as socket:
        await socket.ask(subscribe("solusdt@trade"))
        markets = control(live, "bursts", {"exchange": "binance", "symbol": "SOL/USDT", "trades": 7})
        ids = [(await socket.next())["t"] for _ in range(8)]

    assert len(markets) == len(live.markets)
    assert ids == list(range(ids[0], ids[0] + 8))


def test_a_market_without_a_trade_can_not_burst() -> None:
    with Sandbox(generated_markets(seed=7), clock_ms=lambda: 0) as sandbox:
        with pytest.raises(InputError, match="needs one trade before"):
            sandbox.burst("binance", "BTC/USDT")
        with pytest.raises(InputError, match="no binance NO/SUCH"):
            sandbox.burst("binance", "NO/SUCH")


def pages(sandbox: Sandbox, first_id: int) -> Iterator[list[Any]]:
    while page := get(sandbox, f"api.binance.com/api/v3/aggTrades?symbol=BTCUSDT&fromId={first_id}&limit=1000"):
        yield page
        first_id = page[-1]["a"] + 1


def control(sandbox: Sandbox, path: str, body: object) -> Any:
    request = urllib.request.Request(f"{sandbox.url}/_control/{path}", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
