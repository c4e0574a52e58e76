"""Order books: possible at every moment, around the last trade, and served as each exchange writes them."""

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pytest

from tapehouse.sandbox import Market, Sandbox, generated_markets
from tapehouse.sandbox.tape import Book
from tests.sandbox.conftest import NOW_MS, UNLIMITED, Connect
from tests.sandbox.http import get, refusal
from tests.sandbox.traded import latest_trades_of

MARKETS: Final = [market for market in generated_markets(seed=7) if market.active]
STATE_MS: Final = NOW_MS // 100 * 100
SPOT: Final = "api.binance.com/api/v3/depth?symbol=BTCUSDT"
FUTURES: Final = "fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT"
KRAKEN: Final = "api.kraken.com/0/public/Depth?pair=XXBTZUSD"
COINBASE: Final = "api.exchange.coinbase.com/products/BTC-USD/book"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=clock) as sandbox:
        yield sandbox


def prices(levels: list[list[Any]]) -> list[Decimal]:
    return [Decimal(level[0]) for level in levels]


def is_possible(book: Book) -> bool:
    """Bids fall, asks rise, they don't cross, and every price and amount is above nought."""
    sides = (book.bid_price, book.ask_price, book.bid_amount, book.ask_amount)
    return bool(
        np.all(np.diff(book.bid_price) < 0)
        and np.all(np.diff(book.ask_price) > 0)
        and book.bid_price[0] < book.ask_price[0]
        and all(side.min() >= 1 for side in sides)
    )


@pytest.mark.parametrize("market", MARKETS, ids=lambda market: f"{market.exchange} {market.symbol}")
def test_a_book_of_400_levels_is_possible_at_every_moment(market: Market) -> None:
    books = [market.history.book(NOW_MS + step * 100, 400) for step in range(60)]

    assert all(is_possible(book) for book in books)
    assert {len(book.bid_price) for book in books} == {len(book.ask_price) for book in books} == {400}


def test_the_best_bid_or_ask_is_the_price_of_the_last_trade(timed: Sandbox, clock: Clock) -> None:
    seen: set[str] = set()
    for second in range(40):
        clock.now_ms = STATE_MS + 1000 * second
        last = latest_trades_of(timed, "binance", "BTC/USDT", 1, end_ms=clock.now_ms).iloc[0]
        book = get(timed, SPOT)
        touched = book["asks"] if last["side"] == "buy" else book["bids"]
        assert float(touched[0][0]) == last["price"]
        assert float(book["asks"][0][0]) / float(book["bids"][0][0]) < 1.0001
        seen.add(last["side"])
    assert seen == {"buy", "sell"}


def test_a_book_changes_every_100_ms_and_not_in_between(timed: Sandbox, clock: Clock) -> None:
    def book_at(now_ms: int) -> Any:
        clock.now_ms = now_ms
        return get(timed, SPOT)

    books = [book_at(STATE_MS + 100 * step) for step in range(20)]

    assert book_at(STATE_MS + 1999) == books[-1]
    assert [book["lastUpdateId"] for book in books] == list(range(STATE_MS // 100, STATE_MS // 100 + 20))
    amounts = [tuple(level[1] for level in book["bids"]) for book in books]
    assert len(set(amounts)) == 20


def test_prices_of_levels_stay_while_their_amounts_change(timed: Sandbox, clock: Clock) -> None:
    before = get(timed, SPOT)
    clock.now_ms += 1000

    after = get(timed, SPOT)

    assert len(set(prices(before["bids"])) & set(prices(after["bids"]))) > 60


@pytest.mark.parametrize("path", [SPOT, FUTURES])
def test_less_depth_is_the_top_of_more(sandbox: Sandbox, path: str) -> None:
    deep, shallow = get(sandbox, f"{path}&limit=1000"), get(sandbox, f"{path}&limit=20")

    assert deep["bids"][:20] == shallow["bids"]
    assert deep["asks"][:20] == shallow["asks"]


def test_another_process_gets_the_same_book() -> None:
    program = (
        "from tapehouse.sandbox.catalog import generated_markets\n"
        f"book = generated_markets(seed=7)[0].history.book({NOW_MS}, 30)\n"
        "print([*book.bid_price, *book.bid_amount, *book.ask_price, *book.ask_amount])\n"
    )
    book = MARKETS[0].history.book(NOW_MS, 30)

    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == str([*book.bid_price, *book.bid_amount, *book.ask_price, *book.ask_amount])


@pytest.mark.parametrize(
    ("query", "depth"), [("", 100), ("&limit=1", 1), ("&limit=7", 7), ("&limit=5000", 5000), ("&limit=9000", 5000)]
)
def test_binance_spot_gives_any_depth_up_to_5000(sandbox: Sandbox, query: str, depth: int) -> None:
    book = get(sandbox, SPOT + query)

    assert list(book) == ["lastUpdateId", "bids", "asks"]
    assert (len(book["bids"]), len(book["asks"])) == (depth, depth)
    assert all(len(level[0].split(".")[1]) == 8 for level in book["bids"])


@pytest.mark.parametrize(("query", "depth"), [("", 500), ("&limit=5", 5), ("&limit=1000", 1000)])
def test_binance_futures_tell_two_times(sandbox: Sandbox, query: str, depth: int) -> None:
    book = get(sandbox, FUTURES + query)

    assert (book["E"], book["T"]) == (NOW_MS, STATE_MS)
    assert (len(book["bids"]), len(book["asks"])) == (depth, depth)


def test_binance_futures_refuse_other_depths(sandbox: Sandbox) -> None:
    assert refusal(sandbox, f"{FUTURES}&limit=13") == (400, {"code": -4021, "msg": "'13' is not valid depth limit."})


@pytest.mark.parametrize(("query", "depth"), [("", 100), ("&count=3", 3), ("&count=900", 500)])
def test_kraken_gives_each_level_its_time(sandbox: Sandbox, query: str, depth: int) -> None:
    book = get(sandbox, KRAKEN + query)["result"]["XXBTZUSD"]

    assert (len(book["bids"]), len(book["asks"])) == (depth, depth)
    assert {level[2] for side in ("bids", "asks") for level in book[side]} == {NOW_MS // 1000}


@pytest.mark.parametrize(("query", "depth"), [("", 1), ("?level=1", 1), ("?level=2", 500)])
def test_coinbase_gives_a_book_by_its_level(sandbox: Sandbox, query: str, depth: int) -> None:
    book = get(sandbox, COINBASE + query)

    assert (len(book["bids"]), len(book["asks"])) == (depth, depth)
    assert (book["sequence"], book["time"]) == (STATE_MS // 100, "2026-05-05T12:34:56.700000Z")


def test_coinbase_has_no_other_level(sandbox: Sandbox) -> None:
    assert refusal(sandbox, f"{COINBASE}?level=3") == (400, {"message": "Invalid level"})


@pytest.mark.parametrize(
    ("name", "symbol", "nonce", "time_ms"),
    [
        ("binance", "BTC/USDT", STATE_MS // 100, None),
        ("binanceusdm", "BTC/USDT:USDT", STATE_MS // 100, STATE_MS),
        ("kraken", "BTC/USD", None, None),
        ("coinbaseexchange", "BTC/USD", STATE_MS // 100, None),
    ],
)
async def test_ccxt_reads_the_book(
    sandbox: Sandbox, connect: Connect, name: str, symbol: str, nonce: int | None, time_ms: int | None
) -> None:
    exchange = await connect(name, sandbox)
    history = next(m.history for m in sandbox.markets if (m.exchange, m.symbol) == (name, symbol))

    book: dict[str, Any] = await exchange.fetch_order_book(symbol, 100)

    same = history.book(NOW_MS, 100)
    tick, lot = 10**history.price_decimals, 10**history.amount_decimals
    assert [(level[0], level[1]) for level in book["bids"][:100]] == [
        (price / tick, amount / lot) for price, amount in zip(same.bid_price, same.bid_amount, strict=True)
    ]
    assert [level[0] for level in book["asks"][:100]] == [price / tick for price in same.ask_price]
    assert (book["nonce"], book["timestamp"]) == (nonce, time_ms)


def test_a_delisted_market_has_an_empty_book(sandbox: Sandbox) -> None:
    book = get(sandbox, "api.binance.com/api/v3/depth?symbol=RELICUSDT")

    assert (book["bids"], book["asks"]) == ([], [])
