"""Trades as each exchange pages them: over HTTP, and as ccxt's own classes read them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pandas as pd
import pytest

from tapehouse.errors import InputError
from tapehouse.sandbox import Sandbox, generated_markets
from tests.sandbox.conftest import NOW_MS, UNLIMITED, Connect
from tests.sandbox.http import get, get_with_headers, refusal
from tests.sandbox.traded import latest_trades_of, trades_of

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
SPOT: Final = "api.binance.com/api/v3/aggTrades?symbol=BTCUSDT"
FUTURES: Final = "fapi.binance.com/fapi/v1/aggTrades?symbol=BTCUSDT"
KRAKEN: Final = "api.kraken.com/0/public/Trades?pair=XXBTZUSD"
COINBASE: Final = "api.exchange.coinbase.com/products/BTC-USD/trades"
PRODUCTS: Final = pytest.mark.parametrize(
    ("exchange", "symbol", "path"), [("binance", "BTC/USDT", SPOT), ("binanceusdm", "BTC/USDT:USDT", FUTURES)]
)
Row = tuple[int, int, float, float, str]


def expected(trades: pd.DataFrame) -> list[Row]:
    """Id, ms, price, amount, the taker's side."""
    return list(trades[["id", "ms", "price", "amount", "side"]].itertuples(index=False, name=None))


def binance_rows(page: list[dict[str, Any]]) -> list[Row]:
    return [(row["a"], row["T"], float(row["p"]), float(row["q"]), "sell" if row["m"] else "buy") for row in page]


def kraken_rows(page: list[list[Any]]) -> list[Row]:
    sides = {"b": "buy", "s": "sell"}
    return [(row[6], int(row[2] * 1000), float(row[0]), float(row[1]), sides[row[3]]) for row in page]


def coinbase_rows(page: list[dict[str, Any]]) -> list[Row]:
    """The side is the maker's: the taker took the other."""
    taken = {"buy": "sell", "sell": "buy"}
    rows: list[Row] = []
    for row in page:
        since_1970 = datetime.fromisoformat(row["time"]) - datetime(1970, 1, 1, tzinfo=UTC)
        time_ms = (since_1970.days * 86_400 + since_1970.seconds) * 1000 + since_1970.microseconds // 1000
        rows.append((row["trade_id"], time_ms, float(row["price"]), float(row["size"]), taken[row["side"]]))
    return rows


@pytest.fixture(scope="module")
def by_sevens() -> Iterator[Sandbox]:
    """A sandbox that puts seven trades on a page, whatever it is asked for."""
    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: NOW_MS, page_rows=7) as sandbox:
        yield sandbox


@PRODUCTS
@pytest.mark.parametrize(("query", "count"), [("", 500), ("&limit=3", 3), ("&limit=5000", 1000)])
def test_binance_gives_the_latest_where_nothing_is_asked_for(
    sandbox: Sandbox, exchange: str, symbol: str, path: str, query: str, count: int
) -> None:
    rows = binance_rows(get(sandbox, path + query))

    assert rows == expected(latest_trades_of(sandbox, exchange, symbol, count, end_ms=NOW_MS))


@PRODUCTS
def test_binance_gives_the_first_trades_of_a_window_with_both_bounds_in_it(
    sandbox: Sandbox, exchange: str, symbol: str, path: str
) -> None:
    rows = expected(trades_of(sandbox, exchange, symbol, NOW_MS - HOUR_MS, NOW_MS))
    start_ms, end_ms = rows[40][1], rows[90][1]
    inside = [row for row in rows if start_ms <= row[1] <= end_ms]
    window = f"{path}&startTime={start_ms}&endTime={end_ms}"

    assert {40, 90} <= {rows.index(row) for row in inside}
    assert binance_rows(get(sandbox, window)) == inside
    assert binance_rows(get(sandbox, f"{window}&limit=20")) == inside[:20]
    assert get(sandbox, f"{path}&startTime={NOW_MS}") == []


@PRODUCTS
def test_binance_gives_the_last_trades_before_an_end_and_the_first_after_a_start(
    sandbox: Sandbox, exchange: str, symbol: str, path: str
) -> None:
    rows = expected(trades_of(sandbox, exchange, symbol, NOW_MS - 2 * HOUR_MS, NOW_MS))
    turn_ms = rows[300][1]

    before = binance_rows(get(sandbox, f"{path}&endTime={turn_ms}&limit=30"))
    after = binance_rows(get(sandbox, f"{path}&startTime={turn_ms}&limit=30"))

    assert before == [row for row in rows if row[1] <= turn_ms][-30:]
    assert after == [row for row in rows if row[1] >= turn_ms][:30]


@PRODUCTS
def test_binance_leads_from_id_to_id_up_to_the_latest_trade(
    sandbox: Sandbox, exchange: str, symbol: str, path: str
) -> None:
    trades = latest_trades_of(sandbox, exchange, symbol, 2300, end_ms=NOW_MS)
    next_id = int(trades["id"].iloc[0])
    rows: list[Row] = []

    while page := binance_rows(get(sandbox, f"{path}&fromId={next_id}&limit=1000")):
        rows += page
        next_id = page[-1][0] + 1

    assert rows == expected(trades)


@pytest.mark.parametrize(
    "path",
    [
        f"{SPOT}&startTime={10**20 - 1}",
        f"{SPOT}&fromId={10**20 - 1}",
        f"{SPOT}&startTime=1&endTime=0",
        f"{SPOT}&endTime=0",
        f"{COINBASE}?after=0",
        f"{COINBASE}?before={10**20}",
    ],
)
def test_where_no_trade_can_be_there_is_none(sandbox: Sandbox, path: str) -> None:
    assert get(sandbox, path) == []


@PRODUCTS
def test_binance_tells_the_ids_of_the_trades_in_an_aggregate(
    sandbox: Sandbox, exchange: str, symbol: str, path: str
) -> None:
    row = get(sandbox, f"{path}&limit=1")[0]

    assert row["a"] == row["f"] == row["l"]
    assert ("M" in row) == (exchange == "binance")


@PRODUCTS
@pytest.mark.parametrize("bound", ["startTime", "endTime"])
def test_binance_refuses_an_id_together_with_a_time(
    sandbox: Sandbox, exchange: str, symbol: str, path: str, bound: str
) -> None:
    status, answer = refusal(sandbox, f"{path}&fromId=1&{bound}={NOW_MS}")

    assert (status, answer["code"]) == (400, -1128)


def test_only_futures_refuse_a_window_of_more_than_an_hour(sandbox: Sandbox) -> None:
    hour = f"&startTime={NOW_MS - HOUR_MS}&endTime={NOW_MS}"
    more = f"&startTime={NOW_MS - HOUR_MS - 1}&endTime={NOW_MS}"

    assert binance_rows(get(sandbox, FUTURES + hour)) == expected(
        trades_of(sandbox, "binanceusdm", "BTC/USDT:USDT", NOW_MS - HOUR_MS, NOW_MS).head(500)
    )
    assert refusal(sandbox, FUTURES + more)[1]["code"] == -1127
    assert len(get(sandbox, SPOT + more)) > 400


@pytest.mark.parametrize(("query", "count"), [("", 1000), ("&count=5", 5), ("&count=4000", 1000)])
def test_kraken_gives_the_latest_where_no_since_is_asked_for(sandbox: Sandbox, query: str, count: int) -> None:
    answer = get(sandbox, KRAKEN + query)

    assert answer["error"] == []
    rows = kraken_rows(answer["result"]["XXBTZUSD"])
    assert rows == expected(latest_trades_of(sandbox, "kraken", "BTC/USD", count, end_ms=NOW_MS))


def test_krakens_cursor_leads_to_each_trade_once_and_stays_at_the_last(sandbox: Sandbox) -> None:
    trades = trades_of(sandbox, "kraken", "BTC/USD", NOW_MS - 4 * HOUR_MS, NOW_MS)
    since = str((NOW_MS - 4 * HOUR_MS) * 1_000_000 - 1)
    rows: list[list[Any]] = []

    while page := get(sandbox, f"{KRAKEN}&since={since}&count=300")["result"]["XXBTZUSD"]:
        rows += page
        since = get(sandbox, f"{KRAKEN}&since={since}&count=300")["result"]["last"]

    assert kraken_rows(rows) == expected(trades)
    assert get(sandbox, f"{KRAKEN}&since={since}")["result"] == {"XXBTZUSD": [], "last": since}


def test_krakens_since_is_in_seconds_where_it_is_small(sandbox: Sandbox) -> None:
    since_s = NOW_MS // 1000 - 600

    in_seconds = get(sandbox, f"{KRAKEN}&since={since_s}")["result"]["XXBTZUSD"]

    assert in_seconds == get(sandbox, f"{KRAKEN}&since={since_s}000000000")["result"]["XXBTZUSD"]
    assert kraken_rows(in_seconds) == expected(trades_of(sandbox, "kraken", "BTC/USD", since_s * 1000, NOW_MS))


def test_krakens_times_go_below_a_millisecond(sandbox: Sandbox) -> None:
    result = get(sandbox, KRAKEN)["result"]
    times: list[Decimal] = [row[2] for row in result["XXBTZUSD"]]

    assert all(len(row) == 7 for row in result["XXBTZUSD"])
    assert sum(time * 1000 % 1 != 0 for time in times) > 900
    assert 0 <= Decimal(result["last"]) / 10**9 - times[-1] < Decimal("0.0000003")


def test_kraken_has_nothing_after_the_end_of_time(sandbox: Sandbox) -> None:
    since = str(10**25)

    assert get(sandbox, f"{KRAKEN}&since={since}")["result"] == {"XXBTZUSD": [], "last": since}


@pytest.mark.parametrize("query", ["&since=soon", "&since=NaN", "&since=-1", "&count=0", "&count=-1"])
def test_kraken_refuses_what_makes_no_sense(sandbox: Sandbox, query: str) -> None:
    assert get(sandbox, KRAKEN + query) == {"error": ["EGeneral:Invalid arguments"]}


@pytest.mark.parametrize(("query", "count"), [("", 100), ("?limit=5", 5), ("?limit=4000", 1000)])
def test_coinbase_gives_the_latest_newest_first(sandbox: Sandbox, query: str, count: int) -> None:
    rows = coinbase_rows(get(sandbox, COINBASE + query))

    assert rows[::-1] == expected(latest_trades_of(sandbox, "coinbaseexchange", "BTC/USD", count, end_ms=NOW_MS))


def test_coinbases_headers_lead_back_to_each_trade_once(sandbox: Sandbox) -> None:
    trades = latest_trades_of(sandbox, "coinbaseexchange", "BTC/USD", 1000, end_ms=NOW_MS)
    rows: list[Row] = []
    query = "?limit=300"

    while len(rows) < 900:
        page, headers = get_with_headers(sandbox, COINBASE + query)
        rows += coinbase_rows(page)
        query = f"?limit=300&after={headers['CB-AFTER']}"

    assert rows[::-1] == expected(trades.tail(900))


def test_coinbase_gives_the_newest_of_what_is_newer_than_before(sandbox: Sandbox) -> None:
    trades = latest_trades_of(sandbox, "coinbaseexchange", "BTC/USD", 50, end_ms=NOW_MS)
    known = trades["id"].iloc[29]

    newer, headers = get_with_headers(sandbox, f"{COINBASE}?before={known}")
    few = get(sandbox, f"{COINBASE}?before={known}&limit=4")

    assert coinbase_rows(newer)[::-1] == expected(trades.tail(20))
    assert headers["CB-BEFORE"] == str(trades["id"].iloc[-1])
    assert coinbase_rows(few)[::-1] == expected(trades.tail(4))
    assert get(sandbox, f"{COINBASE}?before={trades['id'].iloc[-1]}") == []


@pytest.mark.parametrize(
    ("path", "within"),
    [
        (f"{SPOT}&limit=1000", ()),
        (f"{FUTURES}&limit=1000", ()),
        (KRAKEN, ("result", "XXBTZUSD")),
        (f"{COINBASE}?limit=1000", ()),
        ("www.okx.com/api/v5/market/trades?instId=BTC-USDT&limit=500", ("data",)),
    ],
)
def test_a_page_holds_no_more_trades_than_the_sandbox_is_told(
    by_sevens: Sandbox, path: str, within: tuple[str, ...]
) -> None:
    rows = get(by_sevens, path)
    for key in within:
        rows = rows[key]

    assert len(rows) == 7


def test_cursors_lead_through_small_pages(by_sevens: Sandbox) -> None:
    trades = trades_of(by_sevens, "kraken", "BTC/USD", NOW_MS - 10 * MINUTE_MS, NOW_MS)
    since = str((NOW_MS - 10 * MINUTE_MS) * 1_000_000 - 1)
    rows: list[list[Any]] = []

    while page := get(by_sevens, f"{KRAKEN}&since={since}")["result"]["XXBTZUSD"]:
        rows += page
        since = get(by_sevens, f"{KRAKEN}&since={since}")["result"]["last"]

    assert kraken_rows(rows) == expected(trades)


def test_candles_keep_their_pages(by_sevens: Sandbox) -> None:
    assert len(get(by_sevens, "api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=50")) == 50


def test_a_page_of_no_rows_makes_no_sense() -> None:
    with pytest.raises(InputError, match="page_rows"):
        Sandbox([], page_rows=0)


@pytest.mark.parametrize(
    ("name", "symbol", "options"),
    [
        ("binance", "BTC/USDT", {"since": NOW_MS - 20 * MINUTE_MS}),
        ("binanceusdm", "BTC/USDT:USDT", {"since": NOW_MS - 20 * MINUTE_MS}),
        ("kraken", "BTC/USD", {"since": (NOW_MS // 1000 - 1200) * 1000}),
        ("coinbaseexchange", "BTC/USD", {"limit": 60}),
    ],
)
async def test_ccxt_reads_the_trades(
    sandbox: Sandbox, connect: Connect, name: str, symbol: str, options: dict[str, int]
) -> None:
    exchange = await connect(name, sandbox)

    got: list[dict[str, Any]] = await exchange.fetch_trades(symbol, **options)

    rows = [(int(row["id"]), row["timestamp"], row["price"], row["amount"], row["side"]) for row in got]
    assert len(rows) > 40
    if "since" in options:
        assert rows == expected(trades_of(sandbox, name, symbol, options["since"], NOW_MS))
    else:
        assert rows == expected(latest_trades_of(sandbox, name, symbol, 60, end_ms=NOW_MS))


@PRODUCTS
def test_candles_are_those_of_the_trades(sandbox: Sandbox, exchange: str, symbol: str, path: str) -> None:
    start_ms = NOW_MS // MINUTE_MS * MINUTE_MS - 30 * MINUTE_MS
    minutes: dict[int, list[Row]] = {}
    for row in binance_rows(get(sandbox, f"{path}&startTime={start_ms}&limit=1000")):
        minutes.setdefault(row[1] // MINUTE_MS * MINUTE_MS, []).append(row)

    candles = get(sandbox, f"{path.replace('aggTrades', 'klines')}&interval=1m&startTime={start_ms}")

    assert {row[0]: row[8] for row in candles if row[8]} == {ms: len(rows) for ms, rows in minutes.items()}
    for row in candles:
        prices = [price for _, _, price, _, _ in minutes.get(row[0], [])]
        if prices:
            assert [float(value) for value in row[1:5]] == [prices[0], max(prices), min(prices), prices[-1]]
            assert float(row[5]) == pytest.approx(sum(amount for _, _, _, amount, _ in minutes[row[0]]), abs=1e-9)


def test_a_delisted_market_has_no_trade_after_its_end(sandbox: Sandbox) -> None:
    relic = generated_markets(seed=7)[6]
    assert (relic.symbol, relic.history.end_ms) == ("RELIC/USDT", 1_743_408_000_000)

    rows = get(sandbox, "api.binance.com/api/v3/aggTrades?symbol=RELICUSDT&limit=2")

    assert rows == get(sandbox, f"api.binance.com/api/v3/aggTrades?symbol=RELICUSDT&fromId={rows[0]['a']}")
    assert 1_743_408_000_000 - HOUR_MS < rows[1]["T"] < 1_743_408_000_000


def test_fifty_more_markets_can_be_had_and_traded() -> None:
    with Sandbox(generated_markets(seed=7, extra=50), limits=UNLIMITED, clock_ms=lambda: NOW_MS) as sandbox:
        listed = get(sandbox, "api.binance.com/api/v3/exchangeInfo")["symbols"]
        first, last = (get(sandbox, f"{SPOT.replace('BTC', name)}&limit=10") for name in ("EXTRA001", "EXTRA050"))

    assert sum(symbol["symbol"].startswith("EXTRA") for symbol in listed) == 50
    assert {row["p"] for row in first}.isdisjoint(row["p"] for row in last)
    assert len(first) == len(last) == 10
