"""The habits of Coinbase Advanced Trade, as ccxt's own class sees them over HTTP."""

import gzip
import json
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import pytest

from tapehouse.sandbox import Sandbox, generated_markets
from tests.sandbox.conftest import NOW_MS, Connect, Exchange
from tests.sandbox.http import get, refusal
from tests.sandbox.traded import candles_of, history_of, latest_trades_of, trades_of

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
FORMING_MS = NOW_MS // MINUTE_MS * MINUTE_MS
FORMING_S = FORMING_MS // 1000
RECORDED = Path(__file__).parents[2] / "../shared/data/rest/coinbase.jsonl.gz"
SYMBOLS = pytest.mark.parametrize("symbol", ["BTC/USD", "SOL/USD", "QUILL/USD"])
OTHER_SIDE = {"buy": "sell", "sell": "buy"}


async def connect_trimmed(connect: Connect, sandbox: Sandbox) -> Exchange:
    """Without currencies, as ingest opens it."""
    exchange = await connect("coinbase", sandbox)
    exchange.has["fetchCurrencies"] = False
    return exchange


async def ask_the_time_often(exchange: Exchange) -> None:
    for _ in range(12):
        await exchange.fetch_time()


def ask(sandbox: Sandbox, path: str) -> Any:
    return get(sandbox, f"api.coinbase.com/api/v3/brokerage/{path}")


async def test_ccxt_loads_the_markets_and_the_time(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    asked = len(sandbox.requests)

    markets: dict[str, Any] = await exchange.load_markets()

    requests = sandbox.requests[asked:]
    assert [(request.query, request.status) for request in requests] == [({}, 200), ({"product_type": "FUTURE"}, 200)]
    assert {symbol: (m["id"], m["precision"]["price"], m["precision"]["amount"]) for symbol, m in markets.items()} == {
        "BTC/USD": ("BTC-USD", 0.01, 1e-8),
        "ETH/USD": ("ETH-USD", 0.01, 1e-8),
        "SOL/USD": ("SOL-USD", 0.01, 1e-8),
        "QUILL/USD": ("QUILL-USD", 1e-5, 0.1),
        "RELIC/USD": ("RELIC-USD", 0.001, 0.01),
    }
    assert [symbol for symbol, market in markets.items() if not market["active"]] == ["RELIC/USD"]
    assert {market["type"] for market in markets.values()} == {"spot"}


async def test_currencies_are_answered_too(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("coinbase", sandbox)

    await exchange.load_markets()

    assert {code: currency["type"] for code, currency in exchange.currencies.items()} == {
        "BTC": "crypto",
        "ETH": "crypto",
        "SOL": "crypto",
        "QUILL": "crypto",
        "RELIC": "crypto",
        "USD": "fiat",
    }


async def test_server_time_comes_in_whole_seconds_or_milliseconds(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect_trimmed(connect, sandbox)

    assert await exchange.fetch_time() == NOW_MS // 1000 * 1000
    assert await exchange.fetch_time({"method": "v3PublicGetBrokerageTime"}) == NOW_MS // 1000 * 1000
    assert ask(sandbox, "time") == {
        "iso": "2026-05-05T12:34:56Z",
        "epochSeconds": "1777984496",
        "epochMillis": "1777984496789",
    }


@SYMBOLS
@pytest.mark.parametrize(("timeframe", "length_ms"), [("1m", MINUTE_MS), ("1h", HOUR_MS)])
async def test_candles_are_those_of_the_trades_and_empty_ones_are_left_out(
    sandbox: Sandbox, connect: Connect, symbol: str, timeframe: str, length_ms: int
) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    forming_ms = NOW_MS // length_ms * length_ms
    start_ms = forming_ms - 59 * length_ms

    rows: list[list[float]] = await exchange.fetch_ohlcv(symbol, timeframe, since=start_ms, limit=300)

    filled = candles_of(
        sandbox, "coinbase", symbol, start_ms, forming_ms + length_ms, length_ms=length_ms, now_ms=NOW_MS
    )
    expected = [row for row in filled if row[5] > 0]
    assert [row[:5] for row in rows] == [row[:5] for row in expected]
    assert [row[5] for row in rows] == pytest.approx([row[5] for row in expected])
    assert len(rows) == 60 or symbol == "QUILL/USD"


@pytest.mark.parametrize(
    ("query", "minutes_back"),
    [
        ("", range(350)),
        (f"&start={FORMING_S - 180}&end={FORMING_S}", [0, 1, 2, 3]),
        (f"&start={FORMING_S - 181}&end={FORMING_S - 59}", [1, 2, 3]),
        (f"&start={FORMING_S - 349 * 60}&end={FORMING_S}", range(350)),
        (f"&start={FORMING_S + 60}&end={FORMING_S + 600}", []),
    ],
)
def test_candles_come_newest_first_between_inclusive_bounds(
    sandbox: Sandbox, query: str, minutes_back: list[int]
) -> None:
    rows = ask(sandbox, f"market/products/BTC-USD/candles?granularity=ONE_MINUTE{query}")["candles"]

    assert [int(row["start"]) for row in rows] == [FORMING_S - back * 60 for back in minutes_back]


@SYMBOLS
@pytest.mark.parametrize(("limit", "count"), [(None, 100), (7, 7), (500, 100), (1000, 100)])
async def test_the_latest_trades_come_a_hundred_at_most(
    sandbox: Sandbox, connect: Connect, symbol: str, limit: int | None, count: int
) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    expected = latest_trades_of(sandbox, "coinbase", symbol, count, end_ms=NOW_MS)

    trades: list[dict[str, Any]] = await exchange.fetch_trades(symbol, limit=limit)

    assert [(int(t["id"]), t["timestamp"], t["price"], t["amount"], OTHER_SIDE[t["side"]]) for t in trades] == list(
        expected.itertuples(index=False, name=None)
    )


async def test_the_newest_trades_of_a_range_of_whole_seconds_come(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    start_ms, end_ms = FORMING_MS - 4 * HOUR_MS, FORMING_MS - HOUR_MS
    expected = trades_of(sandbox, "coinbase", "BTC/USD", start_ms, end_ms + 1)
    assert len(expected) > 500

    trades = await exchange.fetch_trades("BTC/USD", since=start_ms + 999, limit=1000, params={"until": end_ms + 999})
    short = await exchange.fetch_trades("BTC/USD", since=end_ms - MINUTE_MS, params={"until": end_ms})

    assert [int(trade["id"]) for trade in trades] == expected["id"].to_list()[-100:]
    assert [int(t["id"]) for t in short] == expected["id"][expected["ms"] >= end_ms - MINUTE_MS].to_list()


def test_trades_at_the_second_asked_for_are_included(sandbox: Sandbox) -> None:
    trades = trades_of(sandbox, "coinbase", "BTC/USD", NOW_MS - HOUR_MS, NOW_MS)
    second = int(trades["ms"].iloc[-40]) // 1000
    path = "market/products/BTC-USD/ticker?limit=100"

    before = ask(sandbox, f"{path}&end={second}")["trades"]
    after = ask(sandbox, f"{path}&start={second + 1}")["trades"]

    seconds = (trades["ms"] + 999) // 1000
    assert [int(row["trade_id"]) for row in before] == trades["id"][seconds <= second].to_list()[:-101:-1]
    assert [int(row["trade_id"]) for row in after] == trades["id"][seconds > second + 1].to_list()[::-1]


def test_trades_come_newest_first_with_the_makers_side(sandbox: Sandbox) -> None:
    expected = trades_of(sandbox, "coinbase", "BTC/USD", NOW_MS - HOUR_MS, NOW_MS).tail(20)[::-1]
    best = history_of(sandbox, "coinbase", "BTC/USD").book(NOW_MS, 1)

    answer = ask(sandbox, "market/products/BTC-USD/ticker?limit=20")

    assert [int(row["trade_id"]) for row in answer["trades"]] == expected["id"].to_list()
    assert [row["side"] for row in answer["trades"]] == [OTHER_SIDE[side].upper() for side in expected["side"]]
    assert round(float(answer["best_bid"]) * 100) == best.bid_price[0]
    assert round(float(answer["best_ask"]) * 100) == best.ask_price[0]


@SYMBOLS
@pytest.mark.parametrize(("limit", "depth"), [(None, 1000), (1, 1), (50, 50), (5000, 1000)])
async def test_the_book_is_the_markets_own(
    sandbox: Sandbox, connect: Connect, symbol: str, limit: int | None, depth: int
) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    history = history_of(sandbox, "coinbase", symbol)
    expected = history.book(NOW_MS, depth)

    book: dict[str, Any] = await exchange.fetch_order_book(symbol, limit)

    for side, prices, amounts in (
        ("bids", expected.bid_price, expected.bid_amount),
        ("asks", expected.ask_price, expected.ask_amount),
    ):
        assert len(prices) > 0
        assert [round(level[0] * 10**history.price_decimals, 4) for level in book[side]] == prices.tolist()
        assert [round(level[1] * 10**history.amount_decimals, 4) for level in book[side]] == amounts.tolist()
    assert book["timestamp"] == expected.time_ms


def test_a_delisted_product_has_trades_but_no_book(sandbox: Sandbox) -> None:
    product = ask(sandbox, "market/products/RELIC-USD")
    trades = ask(sandbox, "market/products/RELIC-USD/ticker?limit=5")

    assert (product["status"], product["trading_disabled"]) == ("delisted", True)
    assert len(trades["trades"]) == 5
    gone = refused(sandbox, "market/product_book?product_id=RELIC-USD")
    assert gone == (404, "NOT_FOUND", "no pricebook found")


@pytest.mark.parametrize(
    ("path", "status", "code", "message"),
    [
        ("market/products/NO-SUCH", 404, "NOT_FOUND", "Product NO-SUCH not supported"),
        ("market/products/NO-SUCH/candles?granularity=ONE_HOUR", 404, "NOT_FOUND", "valid product_id is required"),
        ("market/products/NO-SUCH/ticker", 404, "NOT_FOUND", "valid product_id is required"),
        ("market/product_book", 404, "NOT_FOUND", "valid product_id is required"),
        ("market/products/BTC-USD/candles", 400, "INVALID_ARGUMENT", "granularity argument is invalid"),
        (
            f"market/products/BTC-USD/candles?granularity=ONE_MINUTE&start={FORMING_S - 350 * 60}&end={FORMING_S}",
            400,
            "INVALID_ARGUMENT",
            "start and end argument is invalid - number of candles requested should be less than 350",
        ),
        ("market/products/BTC-USD/ticker?start=soon", 400, "INVALID_ARGUMENT", "start argument is invalid"),
        ("market/products/BTC-USD/ticker?limit=1001", 500, "INTERNAL", "Internal error"),
        ("nothing", 404, "NOT_FOUND", "Not Found"),
    ],
)
def test_what_it_does_not_serve_is_refused_with_a_message(
    sandbox: Sandbox, path: str, status: int, code: str, message: str
) -> None:
    assert refused(sandbox, path) == (status, code, message)


async def test_too_many_requests_are_refused_with_429(connect: Connect) -> None:
    with Sandbox(generated_markets(seed=7), limits={"coinbase": 3}) as sandbox:
        exchange = await connect_trimmed(connect, sandbox)
        await exchange.load_markets()

        with pytest.raises(ccxt.RateLimitExceeded):
            await ask_the_time_often(exchange)

        assert sandbox.requests[-1].status == 429
        assert "retry-after" not in {name.lower() for name in exchange.last_response_headers}


@pytest.mark.skipif(not RECORDED.exists(), reason="recorded answers are not at hand")
@pytest.mark.parametrize(
    ("recorded", "rows"),
    [
        ("market/products/BTC-USD/candles?granularity=ONE_HOUR", "candles"),
        ("market/products/BTC-USD/ticker", "trades"),
        ("market/products", "products"),
    ],
)
def test_answers_have_the_shape_of_recorded_ones(sandbox: Sandbox, recorded: str, rows: str) -> None:
    theirs, ours = recorded_answer(recorded), ask(sandbox, recorded)

    assert ours.keys() == theirs.keys()
    real, row = theirs[rows][0], ours[rows][0]
    assert {name: type(row[name]) for name in row} == {name: type(real[name]) for name in row}
    assert rows == "products" or row.keys() == real.keys()


@pytest.mark.skipif(not RECORDED.exists(), reason="recorded answers are not at hand")
def test_a_book_has_the_shape_of_a_recorded_one(sandbox: Sandbox) -> None:
    path = "market/product_book?product_id=BTC-USD&limit=5"
    theirs, ours = recorded_answer(path)["pricebook"], ask(sandbox, path)["pricebook"]

    assert ours.keys() == theirs.keys()
    assert (len(ours["bids"]), len(ours["asks"])) == (5, 5)
    assert ours["bids"][0].keys() == theirs["bids"][0].keys()
    assert len(ours["time"]) == len(theirs["time"])


def recorded_answer(path: str) -> Any:
    with gzip.open(RECORDED, "rt") as lines:
        records = [json.loads(line) for line in lines]
    address = f"https://api.coinbase.com/api/v3/brokerage/{path}"
    (body,) = (record["response"]["body"] for record in records if record["request"]["url"] == address)
    return json.loads(body)


def refused(sandbox: Sandbox, path: str) -> tuple[int, str, str]:
    status, answer = refusal(sandbox, f"api.coinbase.com/api/v3/brokerage/{path}")
    return status, answer["error"], answer["message"]
