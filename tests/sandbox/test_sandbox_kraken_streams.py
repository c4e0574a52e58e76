"""Kraken's streams (v2): they agree with what HTTP answers, and books have the checksums of an independent replay."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import pytest

from tapehouse.sandbox import Fault, ReplayClock, Sandbox, generated_markets, market_from_trades
from tapehouse.sandbox.dialects.kraken_stream import checksum
from tests.recorded import sessions
from tests.recorded.ladder import Ladder
from tests.recorded.sessions import BookChange, events
from tests.sandbox.conftest import NOW_MS, UNLIMITED, Connect
from tests.sandbox.http import get
from tests.sandbox.streamed import KRAKEN, Socket, opened
from tests.sandbox.test_sandbox_trading import RECORDINGS

SESSION: Final = RECORDINGS / "ws_sessions" / "KRAKEN.ws.50.0.txt.gz"
MINUTE_MS: Final = 60_000


@pytest.fixture
def live() -> Iterator[Sandbox]:
    """Generated markets whose time goes on from NOW_MS, fifty times as fast, once a stream is subscribed to."""
    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=ReplayClock(NOW_MS, speed=50)) as sandbox:
        yield sandbox


def wanted(channel: str, *symbols: str, **options: object) -> dict[str, Any]:
    return {"method": "subscribe", "params": {"channel": channel, "symbol": list(symbols), **options}, "req_id": 7}


async def begun(socket: Socket, request: dict[str, Any]) -> Any:
    """The answer to a subscription, after the greeting."""
    assert (await socket.next())["channel"] == "status"
    return await socket.ask(request)


def sandbox_at(now_ms: int) -> Sandbox:
    return Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: now_ms)


def time_ms(text: str) -> int:
    """An ISO 8601 time in whole milliseconds."""
    return int(datetime.fromisoformat(text).timestamp() * 1000 + 0.0001)


def test_the_checksum_is_the_one_that_kraken_documents() -> None:
    # docs.kraken.com, "Book checksum" (v2).
    asks = "45285.2 0.00100000 45286.4 1.54571953 45286.6 1.54571109 45289.6 1.54560911 45290.2 0.15890660"
    asks += " 45291.8 1.54553491 45294.7 0.04454749 45296.1 0.35380000 45297.5 0.09945542 45299.5 0.18772827"
    bids = "45283.5 0.10000000 45283.4 1.54582015 45282.1 0.10000000 45281.0 0.10000000 45280.3 1.54592586"
    bids += " 45279.0 0.07990000 45277.6 0.03310103 45277.5 0.30000000 45277.3 1.54602737 45276.6 0.15445238"

    def levels(text: str) -> list[tuple[str, str]]:
        return list(zip(text.split()[::2], text.split()[1::2], strict=True))

    assert checksum(levels(asks), levels(bids)) == 3310070434


@pytest.mark.skipif(not SESSION.exists(), reason="needs the recorded files in ../shared/data")
def test_the_checksum_is_the_recorded_one_after_every_recorded_change() -> None:
    ladders: dict[str, Ladder] = {}
    checked = 0
    for _, change in events(SESSION, sessions.kraken):
        if isinstance(change, BookChange):
            ladder = ladders.setdefault(change.market, Ladder(1000))
            ladder.put(change.bids, change.asks)
            if change.checksum is not None:
                asks, bids = (
                    [(str(level[0]), str(level[1])) for level in side(10)] for side in (ladder.asks, ladder.bids)
                )
                assert checksum(asks, bids) == change.checksum
                checked += 1

    assert checked == 4269


@pytest.mark.parametrize("depth", [10, 25, 100, 500, 1000])
async def test_a_book_has_the_checksum_of_its_replay_and_is_the_one_of_http(live: Sandbox, depth: int) -> None:
    ladder = Ladder(depth)
    async with opened(live, KRAKEN) as socket:
        answer = await begun(socket, wanted("book", "BTC/USD", depth=depth))
        messages = [await socket.next() for _ in range(60)]
    rows = [row for message in messages for row in message["data"]]
    for row in rows:
        ladder.put(pairs(row["bids"]), pairs(row["asks"]))
        assert ladder.kraken_checksum() == row["checksum"]

    assert [message["type"] for message in messages] == ["snapshot", *["update"] * 59]
    assert answer["result"] == {"channel": "book", "symbol": "BTC/USD", "depth": depth, "snapshot": True}
    assert (answer["success"], answer["req_id"]) == (True, 7)
    most = min(depth, 500)
    with sandbox_at(time_ms(rows[-1]["timestamp"])) as sandbox:
        (book,) = get(sandbox, f"api.kraken.com/0/public/Depth?pair=XXBTZUSD&count={most}")["result"].values()
    assert decimals(ladder.bids(most)) == decimals(book["bids"])
    assert decimals(ladder.asks(most)) == decimals(book["asks"])
    assert len(book["bids"]) == most


def pairs(levels: list[Any]) -> list[Any]:
    return [(level["price"], level["qty"]) for level in levels]


def decimals(levels: Any) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(str(level[0])), Decimal(str(level[1]))) for level in levels]


async def test_whole_books_are_told_by_what_differs() -> None:
    books: list[Any] = [
        (NOW_MS, [(9, 1), (8, 2), (7, 3)], [(10, 1)]),
        (NOW_MS + 1000, [(8, 2), (7, 4)], [(10, 1), (11, 5)]),
        (NOW_MS + 2000, [(9.5, 1), (8, 2), (7, 4)], []),
    ]
    market = market_from_trades("kraken", "BTC/USD", [(NOW_MS, 1, "buy", 10, 1)], books=books)
    with Sandbox([market], clock_ms=ReplayClock(NOW_MS, speed=100)) as sandbox:
        async with opened(sandbox, KRAKEN) as socket:
            await begun(socket, wanted("book", "BTC/USD"))
            messages = [(await socket.next())["data"][0] for _ in range(3)]

    told = [(pairs(row["bids"]), pairs(row["asks"])) for row in messages]
    assert [([*map(tuple, bids)], [*map(tuple, asks)]) for bids, asks in told] == [
        ([(9, 1), (8, 2), (7, 3)], [(10, 1)]),
        ([(9, 0), (7, 4)], [(11, 5)]),
        ([(Decimal("9.5"), 1)], [(10, 0), (11, 0)]),
    ]


async def test_trades_are_told_with_the_ids_and_times_of_http(live: Sandbox) -> None:
    async with opened(live, KRAKEN) as socket:
        answer = await begun(socket, wanted("trade", "BTC/USD", "ETH/USD", snapshot=True))
        messages = await socket.until(
            lambda m: m.get("type") == "update" and time_ms(m["data"][-1]["timestamp"]) > NOW_MS + 2 * MINUTE_MS
        )

    assert answer["result"] == {"channel": "trade", "symbol": "BTC/USD", "snapshot": True}
    rows = [row for message in messages for row in message.get("data", ()) if row["symbol"] == "BTC/USD"]
    assert len([message for message in messages if message.get("type") == "snapshot"]) == 2
    with sandbox_at(NOW_MS + 10 * MINUTE_MS) as sandbox:
        answered = [
            row for row in get_trades(sandbox, "count=1000") if rows[0]["trade_id"] <= row[6] <= rows[-1]["trade_id"]
        ]
    assert len(answered) == len(rows) > 55
    assert [(row["trade_id"], row["price"], row["qty"], row["side"][0], time_ms(row["timestamp"])) for row in rows] == [
        (row[6], Decimal(row[0]), Decimal(row[1]), row[3], int(row[2] * 1000)) for row in answered
    ]


def get_trades(sandbox: Sandbox, query: str) -> list[Any]:
    return get(sandbox, f"api.kraken.com/0/public/Trades?pair=XXBTZUSD&{query}")["result"]["XXBTZUSD"]


async def test_ccxt_watches_candles_that_are_those_of_http(live: Sandbox, watch: Connect, connect: Connect) -> None:
    watched = await watch("kraken", live)
    seen: dict[int, list[float]] = {}
    while max(seen, default=0) < NOW_MS + 3 * MINUTE_MS:
        seen |= {row[0]: list(row) for row in await watched.watch_ohlcv("BTC/USD", "1m")}

    with sandbox_at(NOW_MS + 10 * MINUTE_MS) as sandbox:
        rows = await (await connect("kraken", sandbox)).fetch_ohlcv("BTC/USD", "1m")
    answered = {row[0]: row for row in rows if row[5]}
    closed = sorted(seen)[:-1]
    assert [seen[open_ms] for open_ms in closed if open_ms >= rows[0][0]] == [
        answered[open_ms] for open_ms in closed if open_ms >= rows[0][0]
    ]
    assert len(closed) > 600


async def test_ccxt_watches_trades_and_books(live: Sandbox, watch: Connect, connect: Connect) -> None:
    exchange = await watch("kraken", live)

    trades = await exchange.watch_trades("ETH/USD")
    await exchange.watch_order_book("ETH/USD", 25)
    book: dict[str, Any] = await exchange.watch_order_book("ETH/USD", 25)
    bids: list[Any] = [list(level) for level in book["bids"]]

    with sandbox_at(book["timestamp"]) as sandbox:
        other = await connect("kraken", sandbox)
        assert bids == [level[:2] for level in (await other.fetch_order_book("ETH/USD", 25))["bids"]]
    with sandbox_at(NOW_MS + 10 * MINUTE_MS) as sandbox:
        other = await connect("kraken", sandbox)
        answered = {trade["id"]: trade for trade in await other.fetch_trades("ETH/USD")}
    for trade in trades:
        same = answered[trade["id"]]
        assert all(trade[key] == same[key] for key in ("timestamp", "price", "amount", "side"))


async def test_a_spoilt_checksum_is_the_only_thing_wrong(live: Sandbox) -> None:
    live.faults.add(Fault("ws_checksum", path="book", start_ms=NOW_MS + 500, count=1))

    assert await checks_of(live) == [False]


async def test_after_a_gap_the_checksum_is_wrong(live: Sandbox) -> None:
    live.faults.add(Fault("ws_gap", host="ws.kraken.com", start_ms=NOW_MS + 500, count=1))

    assert False in await checks_of(live)


async def checks_of(sandbox: Sandbox) -> list[bool]:
    """The checks that fail among the first fifty changes of a book."""
    ladder = Ladder(10)
    checks: list[bool] = []
    async with opened(sandbox, KRAKEN) as socket:
        await begun(socket, wanted("book", "BTC/USD"))
        for _ in range(50):
            (row,) = (await socket.next())["data"]
            ladder.put(pairs(row["bids"]), pairs(row["asks"]))
            checks.append(ladder.kraken_checksum() == row["checksum"])
    return [check for check in checks if not check]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (wanted("book", "NO/SUCH"), "Currency pair not supported NO/SUCH"),
        (wanted("book", "BTC/USD", depth=7), "Subscription depth not supported"),
        (wanted("ohlc", "BTC/USD", interval=2), "Subscription ohlc interval not supported"),
        (wanted("weather", "BTC/USD"), "Subscription name invalid"),
        (wanted("book", "BTC/USD") | {"method": "unsubscribe"}, "Subscription Not Found"),
        ({"method": "jump", "req_id": 7}, "Malformed request"),
        ("{", "Malformed request"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(sandbox: Sandbox, request_: Any, error: str) -> None:
    async with opened(sandbox, KRAKEN) as socket:
        answer = await begun(socket, request_)

    assert (answer["error"], answer["success"]) == (error, False)
    assert answer.get("req_id") == (7 if isinstance(request_, dict) else None)


async def test_a_stream_is_subscribed_to_once_and_left(sandbox: Sandbox) -> None:
    request = wanted("book", "BTC/USD")
    async with opened(sandbox, KRAKEN) as socket:
        assert (await begun(socket, request))["success"]
        assert (await socket.next())["type"] == "snapshot"
        again = await socket.ask(request)
        left = await socket.ask(request | {"method": "unsubscribe"})
        anew = await socket.ask(request)

    assert (again["success"], again["error"]) == (False, "Already subscribed")
    assert (left["method"], left["success"]) == ("unsubscribe", True)
    assert anew["success"]


async def test_a_ping_is_answered_and_silence_has_a_heartbeat(sandbox: Sandbox) -> None:
    async with opened(sandbox, KRAKEN) as socket:
        assert (await begun(socket, {"method": "ping", "req_id": 7}))["method"] == "pong"
        assert (await socket.ask(wanted("trade", "BTC/USD")))["success"]

        # The clock stands still: nothing happens.
        assert await socket.next() == {"channel": "heartbeat"}
