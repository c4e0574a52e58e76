"""Bybit's habits, as ccxt's own class sees them over HTTP."""

import gzip
import json
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import ccxt.async_support as ccxt
import pytest

from tapehouse.sandbox import Sandbox, generated_markets
from tapehouse.sandbox.limits import Refusal, RollingWindow
from tests.sandbox.conftest import NOW_MS, Connect, Exchange
from tests.sandbox.http import get
from tests.sandbox.traded import candles_of, history_of, latest_trades_of, trades_of

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
FORMING_MS = NOW_MS // MINUTE_MS * MINUTE_MS
RECORDED = Path(__file__).parents[2] / "../shared/data/rest/bybit.jsonl.gz"
TRADED = ["BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC", "BTC/USD:BTC-271231", "QUILL/USDT"]
SYMBOLS = pytest.mark.parametrize("symbol", TRADED)


async def connect_trimmed(connect: Connect, sandbox: Sandbox) -> Exchange:
    """Without currencies and options, as ingest opens it."""
    exchange = await connect("bybit", sandbox)
    exchange.has["fetchCurrencies"] = False
    exchange.options["fetchMarkets"]["types"] = ["spot", "linear", "inverse"]
    return exchange


async def ask_the_time_often(exchange: Exchange) -> None:
    for _ in range(12):
        await exchange.fetch_time()


def ask(sandbox: Sandbox, path: str) -> Any:
    return get(sandbox, f"api.bybit.com/v5/market/{path}")


async def test_ccxt_loads_spot_linear_and_inverse_markets(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    asked = len(sandbox.requests)

    markets: dict[str, Any] = await exchange.load_markets()

    requests = sandbox.requests[asked:]
    assert sorted(request.query["category"] for request in requests) == ["inverse"] * 2 + ["linear"] * 2 + ["spot"]
    assert {request.status for request in requests} == {200}
    assert {symbol: (m["id"], m["precision"]["price"], m["precision"]["amount"]) for symbol, m in markets.items()} == {
        "BTC/USDT": ("BTCUSDT", 0.1, 1e-6),
        "ETH/USDT": ("ETHUSDT", 0.01, 1e-5),
        "SOL/USDT": ("SOLUSDT", 0.01, 0.001),
        "QUILL/USDT": ("QUILLUSDT", 1e-5, 0.1),
        "BTC/USDT:USDT": ("BTCUSDT", 0.1, 0.001),
        "ETH/USDT:USDT": ("ETHUSDT", 0.01, 0.01),
        "BTC/USD:BTC": ("BTCUSD", 0.1, 1.0),
        "BTC/USD:BTC-271231": ("BTCUSDZ27", 0.1, 1.0),
    }
    assert all(market["active"] for market in markets.values())
    assert {s: (m["contractSize"], m["linear"], m["inverse"]) for s, m in markets.items() if m["contract"]} == {
        "BTC/USDT:USDT": (1.0, True, False),
        "ETH/USDT:USDT": (1.0, True, False),
        "BTC/USD:BTC": (1.0, False, True),
        "BTC/USD:BTC-271231": (1.0, False, True),
    }
    assert markets["BTC/USD:BTC-271231"]["expiryDatetime"] == "2027-12-31T08:00:00.000Z"
    assert await exchange.fetch_time() == NOW_MS


def test_a_delisted_contract_is_listed_as_closed_only(sandbox: Sandbox) -> None:
    trading = ask(sandbox, "instruments-info?category=linear")["result"]["list"]
    (closed,) = ask(sandbox, "instruments-info?category=linear&status=Closed")["result"]["list"]

    assert [row["symbol"] for row in trading] == ["BTCUSDT", "ETHUSDT"]
    assert (closed["symbol"], closed["deliveryTime"]) == ("RELICUSDT", "1743408000000")


async def test_a_settled_future_is_listed_no_more(connect: Connect) -> None:
    settled_ms = 1_830_240_000_000
    with Sandbox(generated_markets(seed=7), clock_ms=lambda: settled_ms) as sandbox:
        exchange = await connect_trimmed(connect, sandbox)
        markets: dict[str, Any] = await exchange.load_markets()

    assert "BTC/USD:BTC" in markets
    assert "BTC/USD:BTC-271231" not in markets


def test_there_are_no_options(sandbox: Sandbox) -> None:
    assert ask(sandbox, "instruments-info?category=option&baseCoin=BTC")["result"]["list"] == []


@SYMBOLS
@pytest.mark.parametrize(("timeframe", "length_ms"), [("1m", MINUTE_MS), ("1h", HOUR_MS)])
async def test_candles_are_those_of_the_trades(
    sandbox: Sandbox, connect: Connect, symbol: str, timeframe: str, length_ms: int
) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    forming_ms = NOW_MS // length_ms * length_ms
    start_ms = forming_ms - 29 * length_ms

    rows: list[list[float]] = await exchange.fetch_ohlcv(symbol, timeframe, since=start_ms, limit=100)

    expected = candles_of(
        sandbox, "bybit", symbol, start_ms, forming_ms + length_ms, length_ms=length_ms, now_ms=NOW_MS
    )
    assert [row[:5] for row in rows] == [row[:5] for row in expected]
    assert [row[5] for row in rows] == pytest.approx([row[5] for row in expected], abs=1e-8)


@pytest.mark.parametrize(
    ("query", "volume", "turnover"),
    [
        ("category=spot&symbol=BTCUSDT", "amount", "quote"),
        ("category=linear&symbol=BTCUSDT", "amount", "quote"),
        ("category=inverse&symbol=BTCUSD", "amount", "base"),
    ],
)
def test_the_turnover_of_an_inverse_contract_is_in_base(
    sandbox: Sandbox, query: str, volume: str, turnover: str
) -> None:
    symbol = {"spot": "BTC/USDT", "linear": "BTC/USDT:USDT", "inverse": "BTC/USD:BTC"}[query[9:].partition("&")[0]]
    open_ms = FORMING_MS - 3 * MINUTE_MS
    trades = trades_of(sandbox, "bybit", symbol, open_ms, open_ms + MINUTE_MS)
    trades["quote"] = trades["price"] * trades["amount"]
    trades["base"] = trades["amount"] / trades["price"]

    (row,) = ask(sandbox, f"kline?{query}&interval=1&start={open_ms}&end={open_ms}")["result"]["list"]

    assert row[0] == str(open_ms)
    assert [float(value) for value in row[5:]] == pytest.approx([trades[volume].sum(), trades[turnover].sum()])


@pytest.mark.parametrize(
    ("query", "minutes_back"),
    [
        ("", range(200)),
        ("&limit=3", [0, 1, 2]),
        ("&limit=5000", range(1000)),
        (f"&start={FORMING_MS - 9 * MINUTE_MS}&limit=3", [7, 8, 9]),
        (f"&start={FORMING_MS - 9 * MINUTE_MS + 1}&limit=3", [7, 8, 9]),
        (f"&end={FORMING_MS - 9 * MINUTE_MS}&limit=3", [9, 10, 11]),
        (f"&end={FORMING_MS - 9 * MINUTE_MS - 1}&limit=3", [10, 11, 12]),
        (f"&start={FORMING_MS - 9 * MINUTE_MS}&end={FORMING_MS - 5 * MINUTE_MS}", [5, 6, 7, 8, 9]),
        (f"&start={FORMING_MS - 9 * MINUTE_MS}&end={FORMING_MS - 5 * MINUTE_MS}&limit=2", [5, 6]),
        (f"&start={FORMING_MS - 5 * MINUTE_MS}&end={FORMING_MS - 9 * MINUTE_MS}", []),
        (f"&start={FORMING_MS + MINUTE_MS}", []),
    ],
)
def test_candles_come_newest_first_between_inclusive_bounds(
    sandbox: Sandbox, query: str, minutes_back: list[int]
) -> None:
    result = ask(sandbox, f"kline?category=linear&symbol=BTCUSDT&interval=1{query}")["result"]

    assert (result["category"], result["symbol"]) == ("linear", "BTCUSDT")
    assert [int(row[0]) for row in result["list"]] == [FORMING_MS - back * MINUTE_MS for back in minutes_back]


def test_weeks_open_on_monday(sandbox: Sandbox) -> None:
    (row,) = ask(sandbox, "kline?category=spot&symbol=BTCUSDT&interval=W&limit=1")["result"]["list"]

    # 2026-05-04 was the Monday before.
    assert row[0] == "1777852800000"


@SYMBOLS
@pytest.mark.parametrize("limit", [None, 7, 5000])
async def test_the_latest_trades_come_whatever_since_says(
    sandbox: Sandbox, connect: Connect, symbol: str, limit: int | None
) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    default, most = (60, 60) if ":" not in symbol else (500, 1000)
    expected = latest_trades_of(sandbox, "bybit", symbol, min(limit or default, most), end_ms=NOW_MS)

    trades: list[dict[str, Any]] = await exchange.fetch_trades(symbol, since=1, limit=limit)

    columns = ["ms", "price", "amount", "side"]
    assert [(t["timestamp"], t["price"], t["amount"], t["side"]) for t in trades] == list(
        expected[columns].itertuples(index=False, name=None)
    )
    assert len({trade["id"] for trade in trades}) == len(trades)


@pytest.mark.parametrize(
    ("category", "symbol"), [("linear", "BTCUSDT"), ("inverse", "BTCUSD"), ("inverse", "BTCUSDZ27")]
)
def test_trades_of_contracts_have_uuids_that_stay_theirs(sandbox: Sandbox, category: str, symbol: str) -> None:
    path = f"recent-trade?category={category}&symbol={symbol}"
    first, again = (ask(sandbox, f"{path}&limit={limit}")["result"]["list"] for limit in (20, 30))

    assert first == again[:20]
    assert {UUID(row["execId"]).version for row in first} == {5}
    assert all(str(UUID(row["execId"])) == row["execId"] for row in first)


def test_trades_of_spot_markets_have_whole_numbers_newest_first(sandbox: Sandbox) -> None:
    rows = ask(sandbox, "recent-trade?category=spot&symbol=BTCUSDT")["result"]["list"]

    ids = [int(row["execId"]) for row in rows]
    assert ids == list(range(ids[0], ids[0] - 60, -1))
    assert ids[0] < 2**63


@SYMBOLS
@pytest.mark.parametrize("limit", [None, 1, 5000])
async def test_the_book_is_the_markets_own(sandbox: Sandbox, connect: Connect, symbol: str, limit: int | None) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    history = history_of(sandbox, "bybit", symbol)
    # ccxt asks for 50 levels of a spot market and 25 of a contract where no limit is given.
    default, most = (50, 200) if ":" not in symbol else (25, 500)
    expected = history.book(NOW_MS, min(limit or default, most))

    book: dict[str, Any] = await exchange.fetch_order_book(symbol, limit)

    for side, prices, amounts in (
        ("bids", expected.bid_price, expected.bid_amount),
        ("asks", expected.ask_price, expected.ask_amount),
    ):
        assert len(prices) > 0
        assert [round(level[0] * 10**history.price_decimals, 6) for level in book[side]] == prices.tolist()
        assert [round(level[1] * 10**history.amount_decimals, 6) for level in book[side]] == amounts.tolist()
    assert book["timestamp"] == NOW_MS


@pytest.mark.parametrize(("query", "levels"), [("category=spot&symbol=BTCUSDT", 1), ("symbol=BTCUSDT", 25)])
def test_a_book_has_the_number_and_time_of_its_state(sandbox: Sandbox, query: str, levels: int) -> None:
    symbol = "BTC/USDT" if "spot" in query else "BTC/USDT:USDT"
    expected = history_of(sandbox, "bybit", symbol).book(NOW_MS, levels)

    result = ask(sandbox, f"orderbook?{query}")["result"]

    assert (result["u"], result["cts"], result["ts"]) == (expected.nonce, expected.time_ms, NOW_MS)
    assert (len(result["b"]), len(result["a"])) == (levels, levels)


async def test_an_unknown_symbol_is_a_bad_symbol_with_status_200(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect_trimmed(connect, sandbox)
    await exchange.load_markets()
    exchange.markets["BTC/USDT"]["id"] = "NOSUCH"

    for request in (exchange.fetch_trades, exchange.fetch_ohlcv, exchange.fetch_order_book):
        with pytest.raises(ccxt.BadSymbol, match="Not supported symbols"):
            await request("BTC/USDT")

    assert sandbox.requests[-1].status == 200


@pytest.mark.parametrize(
    "path",
    [
        "kline?category=bonds&symbol=BTCUSDT&interval=1",
        "kline?category=linear&symbol=BTCUSDT&interval=7",
        "kline?category=linear&symbol=BTCUSDT&interval=1&limit=0",
        "kline?category=linear&symbol=BTCUSDT&interval=1&start=soon",
        "recent-trade?category=spot&symbol=BTCUSDT&limit=few",
        "orderbook?category=option&symbol=BTCUSDT",
        "instruments-info",
    ],
)
def test_errors_come_in_the_envelope_with_status_200(sandbox: Sandbox, path: str) -> None:
    answer = ask(sandbox, path)

    assert answer.keys() == {"retCode", "retMsg", "result", "retExtInfo", "time"}
    assert (answer["retCode"], answer["result"], answer["time"]) == (10001, {}, NOW_MS)
    assert answer["retMsg"]


def test_one_request_too_many_shuts_out_for_the_time_of_the_ban() -> None:
    limiter = RollingWindow(2, window_s=5.0, ban_s=600.0)

    assert [limiter.admit(100.0 + second) for second in range(2)] == [None, None]
    assert limiter.admit(104.0) == Refusal(retry_after_s=600, banned=True)
    assert limiter.admit(703.5) == Refusal(retry_after_s=1, banned=True)
    assert limiter.admit(704.0) is None


async def test_too_many_requests_are_forbidden(connect: Connect) -> None:
    with Sandbox(generated_markets(seed=7), limits={"bybit": 5}) as sandbox:
        exchange = await connect_trimmed(connect, sandbox)
        await exchange.load_markets()

        with pytest.raises(ccxt.RateLimitExceeded, match="access too frequent"):
            await ask_the_time_often(exchange)

        assert sandbox.requests[-1].status == 403


@pytest.mark.skipif(not RECORDED.exists(), reason="recorded answers are not at hand")
@pytest.mark.parametrize(
    ("recorded", "path"),
    [
        ("kline", "kline?category=inverse&symbol=BTCUSD&interval=60"),
        ("recent-trade", "recent-trade?category=spot&symbol=BTCUSDT"),
        ("orderbook", "orderbook?category=linear&symbol=BTCUSDT"),
        ("instruments-info", "instruments-info?category=spot"),
        ("instruments-info", "instruments-info?category=linear"),
    ],
)
def test_answers_have_the_shape_of_published_ones(sandbox: Sandbox, recorded: str, path: str) -> None:
    with gzip.open(RECORDED, "rt") as lines:
        records = [json.loads(line) for line in lines]
    theirs: list[Any] = [
        json.loads(r["response"]["body"])
        for r in records
        if r["request"]["url"] == f"https://api.bybit.com/v5/market/{recorded}"
    ]
    ours = ask(sandbox, path)

    (real,) = (body for body in theirs if body["result"].get("category", "") in ("", ours["result"].get("category")))
    assert ours.keys() == real.keys()
    # Fields of `result` have been added since.
    assert real["result"].keys() <= ours["result"].keys() | {"nextPageCursor"}
    for name in ("list", "b", "a"):
        for theirs_row, our_row in zip(real["result"].get(name, []), ours["result"].get(name, []), strict=False):
            if isinstance(theirs_row, list):
                kinds = [type(value) for value in cast("list[object]", theirs_row)]
                assert [type(value) for value in our_row] == kinds
            else:
                shared = theirs_row.keys() & our_row.keys()
                assert len(shared) >= len(our_row) - 1
                assert {key: type(our_row[key]) for key in shared} == {key: type(theirs_row[key]) for key in shared}
