"""OKX's habits, as ccxt's own class sees them over HTTP."""

import gzip
import json
from pathlib import Path
from typing import Any, cast

import ccxt.async_support as ccxt
import pytest

from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.sandbox.limits import Refusal, RollingWindow
from tests.sandbox.conftest import NOW_MS, Connect, Exchange
from tests.sandbox.http import get, refusal
from tests.sandbox.traded import candles_of, history_of, latest_trades_of, trades_of

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
FORMING_MS = NOW_MS // MINUTE_MS * MINUTE_MS
TRADED = ["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USD:BTC", "BTC/USD:BTC-271231", "QUILL/USDT"]
RECORDED = Path(__file__).parents[2] / "../shared/data/rest/okx.jsonl.gz"
SYMBOLS = pytest.mark.parametrize("symbol", TRADED)


async def connect_trimmed(connect: Connect, sandbox: Sandbox) -> Exchange:
    """Without currencies and options, as ingest opens it."""
    exchange = await connect("okx", sandbox)
    exchange.has["fetchCurrencies"] = False
    exchange.options["fetchMarkets"] = {"types": ["spot", "future", "swap"]}
    return exchange


async def ask_the_time_often(exchange: Exchange) -> None:
    for _ in range(12):
        await exchange.fetch_time()


def ask(sandbox: Sandbox, path: str) -> Any:
    return get(sandbox, f"www.okx.com/api/v5/{path}")


async def test_ccxt_loads_spot_swaps_and_futures(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    asked = len(sandbox.requests)

    markets: dict[str, Any] = await exchange.load_markets()

    requests = sandbox.requests[asked:]
    assert sorted(request.query["instType"] for request in requests) == ["FUTURES", "SPOT", "SWAP"]
    assert {request.status for request in requests} == {200}
    assert {symbol: (m["id"], m["precision"]["price"], m["precision"]["amount"]) for symbol, m in markets.items()} == {
        "BTC/USDT": ("BTC-USDT", 0.1, 1e-8),
        "ETH/USDT": ("ETH-USDT", 0.01, 1e-6),
        "SOL/USDT": ("SOL-USDT", 0.01, 1e-6),
        "QUILL/USDT": ("QUILL-USDT", 1e-5, 0.1),
        "RELIC/USDT": ("RELIC-USDT", 0.001, 0.01),
        "BTC/USDT:USDT": ("BTC-USDT-SWAP", 0.1, 0.01),
        "ETH/USDT:USDT": ("ETH-USDT-SWAP", 0.01, 0.01),
        "BTC/USD:BTC": ("BTC-USD-SWAP", 0.1, 1.0),
        "BTC/USD:BTC-271231": ("BTC-USD-271231", 0.1, 1.0),
    }
    assert [symbol for symbol, market in markets.items() if not market["active"]] == ["RELIC/USDT"]
    assert {s: (m["contractSize"], m["linear"], m["inverse"]) for s, m in markets.items() if m["contract"]} == {
        "BTC/USDT:USDT": (0.01, True, False),
        "ETH/USDT:USDT": (0.1, True, False),
        "BTC/USD:BTC": (100.0, False, True),
        "BTC/USD:BTC-271231": (100.0, False, True),
    }
    assert markets["BTC/USD:BTC-271231"]["expiryDatetime"] == "2027-12-31T08:00:00.000Z"
    assert await exchange.fetch_time() == NOW_MS


async def test_a_settled_future_is_listed_no_more(connect: Connect) -> None:
    settled_ms = 1_830_240_000_000
    with Sandbox(generated_markets(seed=7), clock_ms=lambda: settled_ms) as sandbox:
        exchange = await connect_trimmed(connect, sandbox)
        markets: dict[str, Any] = await exchange.load_markets()

    assert "BTC/USD:BTC" in markets
    assert "BTC/USD:BTC-271231" not in markets


def test_there_are_no_options(sandbox: Sandbox) -> None:
    assert ask(sandbox, "public/instruments?instType=OPTION&uly=BTC-USD") == {"code": "0", "msg": "", "data": []}


@SYMBOLS
@pytest.mark.parametrize(("timeframe", "length_ms"), [("1m", MINUTE_MS), ("1h", HOUR_MS)])
async def test_candles_are_those_of_the_trades(
    sandbox: Sandbox, connect: Connect, symbol: str, timeframe: str, length_ms: int
) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    forming_ms = NOW_MS // length_ms * length_ms
    start_ms = forming_ms - 29 * length_ms

    rows: list[list[float]] = await exchange.fetch_ohlcv(symbol, timeframe, limit=30)

    expected = candles_of(sandbox, "okx", symbol, start_ms, forming_ms + length_ms, length_ms=length_ms, now_ms=NOW_MS)
    assert [row[:5] for row in rows] == [row[:5] for row in expected]
    assert [row[5] for row in rows] == pytest.approx([row[5] for row in expected], abs=1e-8)


@pytest.mark.parametrize(
    ("name", "symbol", "columns"),
    [
        ("BTC-USDT", "BTC/USDT", ["amount", "quote", "quote"]),
        ("BTC-USDT-SWAP", "BTC/USDT:USDT", ["amount", "base", "quote"]),
        ("BTC-USD-SWAP", "BTC/USD:BTC", ["amount", "base", "quote"]),
    ],
)
def test_a_candle_tells_volume_in_contracts_base_and_quote(
    sandbox: Sandbox, name: str, symbol: str, columns: list[str]
) -> None:
    open_ms = FORMING_MS - 3 * MINUTE_MS
    trades = trades_of(sandbox, "okx", symbol, open_ms, open_ms + MINUTE_MS)
    if symbol == "BTC/USD:BTC":
        trades["quote"] = trades["amount"] * 100
        trades["base"] = trades["quote"] / trades["price"]
    else:
        trades["base"] = trades["amount"] * (0.01 if ":" in symbol else 1)
        trades["quote"] = trades["base"] * trades["price"]

    (row,) = ask(sandbox, f"market/candles?instId={name}&before={open_ms - 1}&after={open_ms + 1}")["data"]

    assert row[0] == str(open_ms)
    assert [float(value) for value in row[5:8]] == pytest.approx([trades[column].sum() for column in columns])


def test_only_the_open_candle_is_not_confirmed(sandbox: Sandbox) -> None:
    rows = ask(sandbox, "market/candles?instId=BTC-USDT&bar=1m&limit=3")["data"]

    assert [(int(row[0]), row[8]) for row in rows] == [
        (FORMING_MS, "0"),
        (FORMING_MS - MINUTE_MS, "1"),
        (FORMING_MS - 2 * MINUTE_MS, "1"),
    ]
    (history_row,) = ask(sandbox, f"market/history-candles?instId=BTC-USDT&after={FORMING_MS}&limit=1")["data"]
    assert history_row == rows[1]


@pytest.mark.parametrize(
    ("query", "minutes_back"),
    [
        (f"after={FORMING_MS}&limit=2", [1, 2]),
        (f"after={FORMING_MS + 1}&limit=2", [0, 1]),
        (f"before={FORMING_MS - 3 * MINUTE_MS}", [0, 1, 2]),
        (f"before={FORMING_MS - 900 * MINUTE_MS}&limit=2", [0, 1]),
        (f"before={FORMING_MS - 9 * MINUTE_MS}&after={FORMING_MS - 5 * MINUTE_MS}", [6, 7, 8]),
        (f"before={FORMING_MS - 9 * MINUTE_MS}&after={FORMING_MS - 5 * MINUTE_MS}&limit=1", [6]),
        (f"before={FORMING_MS - 5 * MINUTE_MS}&after={FORMING_MS - 5 * MINUTE_MS}", []),
        ("", range(100)),
        ("limit=1000", range(300)),
        (f"after={FORMING_MS - 1437 * MINUTE_MS}", [1438, 1439]),
    ],
)
def test_the_newest_candles_come_of_those_between_before_and_after(
    sandbox: Sandbox, query: str, minutes_back: list[int]
) -> None:
    rows = ask(sandbox, f"market/candles?instId=BTC-USDT-SWAP&bar=1m&{query}")["data"]

    assert [int(row[0]) for row in rows] == [FORMING_MS - back * MINUTE_MS for back in minutes_back]


def test_history_candles_reach_the_first_trade(sandbox: Sandbox) -> None:
    first_ms = history_of(sandbox, "okx", "BTC/USDT").first_ms // MINUTE_MS * MINUTE_MS

    rows = ask(sandbox, f"market/history-candles?instId=BTC-USDT&after={first_ms + 300 * MINUTE_MS}&limit=300")["data"]
    earlier = ask(sandbox, f"market/history-candles?instId=BTC-USDT&after={first_ms}")["data"]

    assert [int(row[0]) for row in rows] == [first_ms + back * MINUTE_MS for back in range(299, -1, -1)]
    assert earlier == []


@pytest.mark.parametrize(("bar", "hour"), [("1D", 16), ("1Dutc", 0), ("12H", 4), ("12Hutc", 12)])
def test_long_bars_open_by_the_clock_of_hong_kong_or_utc(sandbox: Sandbox, bar: str, hour: int) -> None:
    (row,) = ask(sandbox, f"market/candles?instId=ETH-USDT&bar={bar}&limit=1")["data"]

    assert int(row[0]) % DAY_MS == hour * HOUR_MS


async def test_a_delisted_market_keeps_its_history(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    gone_ms = 1_743_408_000_000

    rows = await exchange.fetch_ohlcv("RELIC/USDT", "1m", since=gone_ms - 3 * MINUTE_MS, limit=10)

    expected = candles_of(
        sandbox, "okx", "RELIC/USDT", gone_ms - 3 * MINUTE_MS, gone_ms, length_ms=MINUTE_MS, now_ms=NOW_MS
    )
    assert [row[:5] for row in rows] == [row[:5] for row in expected]
    assert await exchange.fetch_ohlcv("RELIC/USDT", "1m") == []
    assert (await exchange.fetch_order_book("RELIC/USDT"))["bids"] == []


@SYMBOLS
@pytest.mark.parametrize(("limit", "count"), [(None, 100), (7, 7), (1000, 500)])
async def test_the_latest_trades_come_whatever_since_says(
    sandbox: Sandbox, connect: Connect, symbol: str, limit: int | None, count: int
) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    expected = latest_trades_of(sandbox, "okx", symbol, count, end_ms=NOW_MS)

    trades: list[dict[str, Any]] = await exchange.fetch_trades(symbol, since=1, limit=limit)

    assert [(int(t["id"]), t["timestamp"], t["price"], t["amount"], t["side"]) for t in trades] == list(
        expected.itertuples(index=False, name=None)
    )


def test_trades_come_newest_first(sandbox: Sandbox) -> None:
    expected = trades_of(sandbox, "okx", "BTC/USD:BTC", NOW_MS - HOUR_MS, NOW_MS)["id"].to_list()[::-1]

    rows = ask(sandbox, "market/trades?instId=BTC-USD-SWAP&limit=9")["data"]

    assert [int(row["tradeId"]) for row in rows] == expected[:9]


def test_history_trades_can_be_walked_back_by_id(sandbox: Sandbox) -> None:
    expected = trades_of(sandbox, "okx", "ETH/USDT:USDT", NOW_MS - DAY_MS, NOW_MS)["id"].to_list()[::-1]
    path = "market/history-trades?instId=ETH-USDT-SWAP&limit=100"
    walked: list[int] = []
    while len(walked) < 1000:
        cursor = f"&after={walked[-1]}" if walked else ""
        walked += [int(row["tradeId"]) for row in ask(sandbox, path + cursor)["data"]]

    assert walked == expected[:1000]
    newer = ask(sandbox, f"{path}&before={expected[5]}")["data"]
    assert [int(row["tradeId"]) for row in newer] == expected[:5]


def test_history_trades_can_be_asked_for_before_a_time(sandbox: Sandbox) -> None:
    at_ms = NOW_MS - 3 * DAY_MS
    expected = trades_of(sandbox, "okx", "BTC/USDT", at_ms - HOUR_MS, at_ms).tail(100)

    rows = ask(sandbox, f"market/history-trades?instId=BTC-USDT&type=2&after={at_ms}")["data"]

    assert [int(row["tradeId"]) for row in rows] == expected["id"].to_list()[::-1]


@SYMBOLS
@pytest.mark.parametrize(("limit", "depth"), [(None, 100), (1, 1), (400, 400), (700, 700)])
async def test_the_book_is_the_markets_own(
    sandbox: Sandbox, connect: Connect, symbol: str, limit: int | None, depth: int
) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    history = history_of(sandbox, "okx", symbol)
    expected = history.book(NOW_MS, depth)

    book: dict[str, Any] = await exchange.fetch_order_book(symbol, limit)

    for side, prices, amounts in (
        ("bids", expected.bid_price, expected.bid_amount),
        ("asks", expected.ask_price, expected.ask_amount),
    ):
        assert 0 < len(prices) <= depth
        assert [round(level[0] * 10**history.price_decimals, 6) for level in book[side]] == prices.tolist()
        assert [round(level[1] * 10**history.amount_decimals, 6) for level in book[side]] == amounts.tolist()
    assert book["timestamp"] == expected.time_ms


def test_a_book_has_the_number_of_its_state(sandbox: Sandbox) -> None:
    (book,) = ask(sandbox, "market/books?instId=BTC-USDT")["data"]

    assert book["seqId"] == history_of(sandbox, "okx", "BTC/USDT").book(NOW_MS, 1).nonce
    assert [len(book[side]) for side in ("bids", "asks")] == [1, 1]
    assert [len(level) for side in ("bids", "asks") for level in book[side]] == [4, 4]


async def test_an_unknown_instrument_is_a_bad_symbol_with_status_200(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    await exchange.load_markets()
    exchange.markets["BTC/USDT"]["id"] = "NO-SUCH"

    with pytest.raises(ccxt.BadSymbol, match="51001"):
        await exchange.fetch_trades("BTC/USDT")

    assert sandbox.requests[-1].status == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("market/candles", 400, "50014"),
        ("market/candles?instId=BTC-USDT&bar=7m", 400, "51000"),
        ("market/candles?instId=BTC-USDT&limit=0", 400, "51000"),
        ("market/candles?instId=BTC-USDT&after=soon", 400, "51000"),
        ("market/trades?instId=BTC-USDT&limit=few", 400, "51000"),
        ("market/history-trades?instId=BTC-USDT&type=2&before=5", 400, "51000"),
        ("market/books?instId=BTC-USDT&sz=401", 400, "51000"),
        ("market/books?instId=BTC-USDT&sz=0", 400, "51000"),
        ("market/books-full?instId=BTC-USDT&sz=5001", 400, "51000"),
        ("public/instruments", 400, "50014"),
        ("public/instruments?instType=BONDS", 400, "51000"),
        ("market/nothing", 404, "404"),
    ],
)
def test_what_it_does_not_serve_is_refused_with_a_code(sandbox: Sandbox, path: str, status: int, code: str) -> None:
    refused_status, answer = refusal(sandbox, f"www.okx.com/api/v5/{path}")

    assert (refused_status, answer["code"]) == (status, code)


def test_one_unknown_instrument_is_refused_in_the_listing(sandbox: Sandbox) -> None:
    assert ask(sandbox, "public/instruments?instType=SPOT&instId=NO-SUCH")["code"] == "51001"
    (found,) = ask(sandbox, "public/instruments?instType=SPOT&instId=BTC-USDT")["data"]
    assert found["instId"] == "BTC-USDT"


def test_a_window_rolls() -> None:
    limiter = RollingWindow(2, window_s=2.0)

    assert [limiter.admit(at_s) for at_s in (10.0, 11.0, 11.5)] == [None, None, Refusal(retry_after_s=1)]
    assert [limiter.admit(at_s) for at_s in (12.0, 12.5)] == [None, Refusal(retry_after_s=1)]
    assert limiter.admit(13.0) is None


async def test_too_many_requests_of_one_kind_are_refused_with_429(connect: Connect) -> None:
    with Sandbox(generated_markets(seed=7), limits={"okx": 3}) as sandbox:
        exchange = await connect_trimmed(connect, sandbox)
        await exchange.load_markets()

        with pytest.raises(ccxt.RateLimitExceeded, match="50011"):
            await ask_the_time_often(exchange)

        assert sandbox.requests[-1].status == 429
        assert "retry-after" not in {name.lower() for name in exchange.last_response_headers}


@pytest.mark.skipif(not RECORDED.exists(), reason="recorded answers are not at hand")
@pytest.mark.parametrize(
    ("recorded", "path"),
    [
        ("/api/v5/market/candles?instId=BTC-USDT-SWAP&bar=1m&limit=2", "market/candles?instId=BTC-USDT-SWAP"),
        ("/api/v5/market/trades?instId=BTC-USDT&limit=2", "market/trades?instId=BTC-USDT"),
        ("/api/v5/public/instruments?instType=SPOT", "public/instruments?instType=SPOT"),
        ("/api/v5/public/instruments?instType=SWAP", "public/instruments?instType=SWAP"),
    ],
)
def test_answers_have_the_shape_of_recorded_ones(sandbox: Sandbox, recorded: str, path: str) -> None:
    with gzip.open(RECORDED, "rt") as lines:
        records = [json.loads(line) for line in lines]
    (body,) = (r["response"]["body"] for r in records if r["request"]["url"] == f"https://www.okx.com{recorded}")
    theirs, ours = json.loads(body), ask(sandbox, path)

    assert ours.keys() == theirs.keys()
    real, row = theirs["data"][0], ours["data"][0]
    if isinstance(real, list):
        assert [type(value) for value in row] == [type(value) for value in cast("list[object]", real)]
    else:
        assert {name: type(row[name]) for name in row} == {name: type(real[name]) for name in row}
