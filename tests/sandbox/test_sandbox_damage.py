"""Row faults where rows are objects, texts or contracts: what ccxt then makes of OKX, Bybit and Coinbase Advanced."""

from collections.abc import Iterator
from typing import Any

import pytest

from tapehouse.sandbox import Fault, Sandbox, generated_markets
from tapehouse.sandbox.faults import FaultKind
from tests.sandbox.conftest import NOW_MS, UNLIMITED, Connect, Exchange
from tests.sandbox.traded import latest_trades_of

MINUTE_MS = 60_000
SINCE_MS = NOW_MS // MINUTE_MS * MINUTE_MS - 20 * MINUTE_MS
MARKETS = pytest.mark.parametrize(
    ("name", "symbol"), [("okx", "BTC/USDT:USDT"), ("bybit", "BTC/USD:BTC"), ("coinbase", "BTC/USD")]
)


async def opened(connect: Connect, name: str, sandbox: Sandbox) -> Exchange:
    exchange = await connect(name, sandbox)
    exchange.has["fetchCurrencies"] = False
    await exchange.load_markets()
    return exchange


@MARKETS
@pytest.mark.parametrize(("kind", "column"), [("zero_price", 3), ("null_price", 4), ("negative_volume", 5)])
async def test_a_spoilt_candle_is_spoilt_where_ccxt_reads_it(
    sandbox: Sandbox, connect: Connect, name: str, symbol: str, kind: FaultKind, column: int
) -> None:
    exchange = await opened(connect, name, sandbox)
    sound = await exchange.fetch_ohlcv(symbol, "1m", since=SINCE_MS, limit=10)
    bad_ms = SINCE_MS + 4 * MINUTE_MS
    sandbox.faults.add(Fault(kind, start_ms=bad_ms, end_ms=bad_ms + 1))

    rows = await exchange.fetch_ohlcv(symbol, "1m", since=SINCE_MS, limit=10)

    changed = [(row[0], [at for at in range(6) if row[at] != was[at]]) for row, was in zip(rows, sound, strict=True)]
    assert [change for change in changed if change[1]] == [(bad_ms, [column])]


@MARKETS
@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [("missing_id", "id", None), ("unknown_side", "side", None), ("zero_price", "price", 0.0)],
)
async def test_a_spoilt_trade_is_spoilt_where_ccxt_reads_it(
    sandbox: Sandbox, connect: Connect, name: str, symbol: str, kind: FaultKind, key: str, value: object
) -> None:
    exchange = await opened(connect, name, sandbox)
    sandbox.faults.add(Fault(kind))

    trades: list[dict[str, Any]] = await exchange.fetch_trades(symbol, limit=20)

    assert len(trades) == 20
    assert sum(trade[key] in (value, "") for trade in trades) == 1


@MARKETS
async def test_trades_can_come_twice(sandbox: Sandbox, connect: Connect, name: str, symbol: str) -> None:
    exchange = await opened(connect, name, sandbox)
    sandbox.faults.add(Fault("duplicate_rows", rows=3))

    trades: list[dict[str, Any]] = await exchange.fetch_trades(symbol)

    assert len(trades) == len({trade["id"] for trade in trades}) + 3


@MARKETS
@pytest.mark.parametrize(
    ("kind", "bids", "asks"), [("crossed_book", 10, 10), ("empty_book", 0, 0), ("one_sided_book", None, None)]
)
async def test_a_book_can_be_crossed_or_miss_a_side(
    sandbox: Sandbox, connect: Connect, name: str, symbol: str, kind: FaultKind, bids: int | None, asks: int | None
) -> None:
    exchange = await opened(connect, name, sandbox)
    sandbox.faults.add(Fault(kind))

    book: dict[str, Any] = await exchange.fetch_order_book(symbol, 10)

    sides = (len(book["bids"]), len(book["asks"]))
    assert sides == (bids, asks) or (bids is None and sorted(sides) == [0, 10])
    assert kind != "crossed_book" or book["bids"][0][0] >= book["asks"][0][0]


@pytest.fixture(scope="module")
def small_pages() -> Iterator[Sandbox]:
    with Sandbox(generated_markets(seed=7), limits=UNLIMITED, clock_ms=lambda: NOW_MS, page_rows=7) as sandbox:
        yield sandbox


@MARKETS
async def test_pages_of_trades_can_be_cut_to_size(
    small_pages: Sandbox, connect: Connect, name: str, symbol: str
) -> None:
    exchange = await opened(connect, name, small_pages)
    expected = latest_trades_of(small_pages, name, symbol, 7, end_ms=NOW_MS)

    trades: list[dict[str, Any]] = await exchange.fetch_trades(symbol, limit=50)

    assert [trade["timestamp"] for trade in trades] == expected["ms"].to_list()
