"""Faults of trades and order books: what each does to the JSON, and what ccxt makes of it."""

from typing import Any, Final

import pytest

from tapehouse.sandbox import Fault, Sandbox
from tapehouse.sandbox.faults import FaultKind
from tests.sandbox.conftest import NOW_MS, Connect
from tests.sandbox.http import get

DAY_MS: Final = 86_400_000
BINANCE: Final = "api.binance.com/api/v3/aggTrades?symbol=BTCUSDT&limit=9"
KRAKEN: Final = "api.kraken.com/0/public/Trades?pair=XXBTZUSD&count=9"
COINBASE: Final = "api.exchange.coinbase.com/products/BTC-USD/trades?limit=9"
DEPTH: Final = "api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5"
# Where each exchange keeps id, time, side, price and amount.
KEYS: Final[dict[str, tuple[Any, ...]]] = {
    BINANCE: ("a", "T", "m", "p", "q"),
    KRAKEN: (6, 2, 3, 0, 1),
    COINBASE: ("trade_id", "time", "side", "price", "size"),
}
PAGES: Final = pytest.mark.parametrize("path", list(KEYS))


def rows_of(sandbox: Sandbox, path: str) -> list[Any]:
    answer = get(sandbox, path)
    if path != KRAKEN:
        return answer
    # A float is all that clients see of a time.
    return [
        [float(value) if place == 2 else value for place, value in enumerate(row)]
        for row in answer["result"]["XXBTZUSD"]
    ]


def struck(sandbox: Sandbox, path: str, fault: Fault) -> tuple[list[Any], list[Any]]:
    """The page without and with the fault."""
    before = rows_of(sandbox, path)
    sandbox.faults.add(fault)
    return before, rows_of(sandbox, path)


@PAGES
@pytest.mark.parametrize(
    ("kind", "places"),
    [
        ("short_page", [0, 1, 2, 3, 4, 5, 6]),
        ("missing_rows", [0, 1, 2, 5, 6, 7, 8]),
        ("duplicate_rows", [0, 1, 2, 3, 3, 4, 4, 5, 6, 7, 8]),
        ("unordered_rows", [3, 4, 0, 1, 2, 5, 6, 7, 8]),
    ],
)
def test_rows_go_come_twice_or_stand_elsewhere(sandbox: Sandbox, path: str, kind: FaultKind, places: list[int]) -> None:
    before, after = struck(sandbox, path, Fault(kind, rows=2))

    assert after == [before[place] for place in places]


@PAGES
@pytest.mark.parametrize(
    ("kind", "value"), [("nan_price", "NaN"), ("null_price", None), ("text_price", "n/a"), ("zero_price", "0")]
)
def test_a_price_is_no_price(sandbox: Sandbox, path: str, kind: FaultKind, value: object) -> None:
    before, after = struck(sandbox, path, Fault(kind))

    price = KEYS[path][3]
    assert after[4][price] == value
    before[4][price] = value
    assert after == before


@PAGES
def test_a_price_is_below_nought(sandbox: Sandbox, path: str) -> None:
    before, after = struck(sandbox, path, Fault("negative_price"))

    price = KEYS[path][3]
    assert after[4][price] == f"-{before[4][price]}"


@PAGES
def test_an_amount_is_below_nought(sandbox: Sandbox, path: str) -> None:
    before, after = struck(sandbox, path, Fault("negative_volume"))

    amount = KEYS[path][4]
    assert float(after[4][amount]) == pytest.approx(-1 - float(before[4][amount]))


@PAGES
def test_the_newest_trade_is_corrected(sandbox: Sandbox, path: str) -> None:
    before, after = struck(sandbox, path, Fault("corrected_rows"))

    amount = KEYS[path][4]
    assert after[:-1] == before[:-1]
    assert float(after[-1][amount]) == pytest.approx(float(before[-1][amount]) + 1)


@pytest.mark.parametrize(
    ("path", "place"), [(BINANCE, "a"), (BINANCE, "m"), (COINBASE, "trade_id"), (COINBASE, "side")]
)
def test_an_object_lacks_its_id_or_its_side(sandbox: Sandbox, path: str, place: str) -> None:
    kind = "missing_id" if place in ("a", "trade_id") else "unknown_side"
    before, after = struck(sandbox, path, Fault(kind))

    del before[4][place]
    assert after == before


@pytest.mark.parametrize(("kind", "place"), [("missing_id", 6), ("unknown_side", 3)])
def test_an_array_has_null_for_its_id_or_its_side(sandbox: Sandbox, kind: FaultKind, place: int) -> None:
    before, after = struck(sandbox, KRAKEN, Fault(kind))

    before[4][place] = None
    assert after == before


async def test_ccxt_finds_no_id_no_side_and_no_price(sandbox: Sandbox, connect: Connect) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    for kind in ("missing_id", "unknown_side", "null_price"):
        sandbox.faults.add(Fault(kind))

    row = (await exchange.fetch_trades("BTC/USDT", limit=9))[4]

    assert (row["id"], row["side"], row["price"]) == (None, None, None)
    assert row["amount"] > 0


@pytest.mark.parametrize("kind", ["nan_price", "text_price"])
async def test_one_price_that_is_no_number_makes_ccxt_lose_the_whole_page(
    sandbox: Sandbox, connect: Connect, kind: FaultKind
) -> None:
    exchange = await connect("binance", sandbox)
    await exchange.load_markets()
    sandbox.faults.add(Fault(kind))

    with pytest.raises(ValueError, match="invalid literal"):
        await exchange.fetch_trades("BTC/USDT", limit=9)


@pytest.mark.parametrize("name", ["binance", "kraken", "coinbaseexchange"])
async def test_a_time_is_decades_ahead(sandbox: Sandbox, connect: Connect, name: str) -> None:
    symbol = "BTC/USDT" if name == "binance" else "BTC/USD"
    exchange = await connect(name, sandbox)
    before: list[dict[str, Any]] = await exchange.fetch_trades(symbol, limit=9)
    sandbox.faults.add(Fault("future_time"))

    after: list[dict[str, Any]] = await exchange.fetch_trades(symbol, limit=9)

    moved = next(row for row in before if row["id"] not in {row["id"] for row in after[:-1]})
    assert after[-1]["id"] == moved["id"]
    assert after[-1]["timestamp"] - moved["timestamp"] == pytest.approx(10_000 * DAY_MS, abs=1)


@PAGES
def test_a_fault_may_strike_the_trades_of_a_window(sandbox: Sandbox, path: str) -> None:
    before, after = struck(sandbox, path, Fault("missing_rows", start_ms=NOW_MS - DAY_MS, end_ms=NOW_MS))

    assert (len(before), after) == (9, [])


@PAGES
@pytest.mark.parametrize("kind", ["high_below_low", "misaligned_time", "crossed_book"])
def test_a_fault_of_something_else_passes_by(sandbox: Sandbox, path: str, kind: FaultKind) -> None:
    before, after = struck(sandbox, path, Fault(kind))

    assert after == before


def test_a_fault_is_used_up_by_the_pages_it_can_strike(sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("missing_id", count=1))

    get(sandbox, "api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m")
    get(sandbox, DEPTH)

    assert sum("a" not in row for row in get(sandbox, BINANCE)) == 1
    assert sum("a" not in row for row in get(sandbox, BINANCE)) == 0


def books(sandbox: Sandbox, fault: Fault) -> tuple[Any, Any]:
    before = get(sandbox, DEPTH)
    sandbox.faults.add(fault)
    return before, get(sandbox, DEPTH)


def test_a_crossed_book_has_its_best_prices_exchanged(sandbox: Sandbox) -> None:
    before, after = books(sandbox, Fault("crossed_book"))

    (bid, *bids), (ask, *asks) = before["bids"], before["asks"]
    assert after["bids"] == [[ask[0], bid[1]], *bids]
    assert after["asks"] == [[bid[0], ask[1]], *asks]
    assert float(after["bids"][0][0]) > float(after["asks"][0][0])


@pytest.mark.parametrize(
    ("kind", "bids", "asks"),
    [
        ("empty_book", [], []),
        ("one_sided_book", [0, 1, 2, 3, 4], []),
        ("unsorted_book", [4, 3, 2, 1, 0], [4, 3, 2, 1, 0]),
    ],
)
def test_sides_are_empty_or_out_of_order(sandbox: Sandbox, kind: FaultKind, bids: list[int], asks: list[int]) -> None:
    before, after = books(sandbox, Fault(kind))

    assert after["bids"] == [before["bids"][place] for place in bids]
    assert after["asks"] == [before["asks"][place] for place in asks]


@pytest.mark.parametrize(
    ("kind", "value"), [("nan_price", "NaN"), ("null_price", None), ("text_price", "n/a"), ("zero_price", "0")]
)
def test_the_best_bids_have_no_price(sandbox: Sandbox, kind: FaultKind, value: object) -> None:
    before, after = books(sandbox, Fault(kind, rows=2))

    assert [level[0] for level in after["bids"]] == [value, value, *[level[0] for level in before["bids"][2:]]]
    assert after["asks"] == before["asks"]


def test_a_level_has_an_amount_below_nought(sandbox: Sandbox) -> None:
    before, after = books(sandbox, Fault("negative_volume"))

    assert after["bids"][0][0] == before["bids"][0][0]
    assert float(after["bids"][0][1]) == pytest.approx(-1 - float(before["bids"][0][1]))


@pytest.mark.parametrize("fault", [Fault("missing_rows"), Fault("crossed_book", start_ms=0)])
def test_a_fault_that_no_book_can_have_passes_by(sandbox: Sandbox, fault: Fault) -> None:
    before, after = books(sandbox, fault)

    assert after == before


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("kraken", "BTC/USD"), ("coinbaseexchange", "BTC/USD"), ("okx", "BTC/USDT"), ("bybit", "BTC/USDT")],
)
async def test_a_crossed_book_reaches_ccxt_from_every_exchange(
    sandbox: Sandbox, connect: Connect, name: str, symbol: str
) -> None:
    exchange = await connect(name, sandbox)
    await exchange.load_markets()
    sandbox.faults.add(Fault("crossed_book"))

    book: dict[str, Any] = await exchange.fetch_order_book(symbol)

    assert book["bids"][0][0] > book["asks"][0][0]
