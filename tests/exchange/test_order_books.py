"""Order books through real ccxt over real HTTP, against the sandbox's own history read without ccxt."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest

from tapehouse.book import BookSample
from tapehouse.errors import BadPage, InputError, PermanentError, UnknownSymbol
from tapehouse.exchange.books import sample_of
from tapehouse.sandbox import Fault, Sandbox
from tests.exchange.conftest import NOW_MS, Open

MARKETS: Final = {
    "binance": "BTC/USDT",
    "binanceusdm": "BTC/USDT:USDT",
    "kraken": "BTC/USD",
    "coinbaseexchange": "BTC/USD",
    "coinbase": "BTC/USD",
    "okx": "BTC/USDT:USDT",
    "bybit": "BTC/USDT:USDT",
}


def truth(sandbox: Sandbox, exchange_id: str, depth: int) -> tuple[list[list[float]], list[list[float]]]:
    symbol = MARKETS[exchange_id]
    (market,) = (one for one in sandbox.markets if (one.exchange, one.symbol) == (exchange_id, symbol))
    history = market.history
    book = history.book(NOW_MS, depth)
    tick, lot = 10**history.price_decimals, 10**history.amount_decimals
    bids = zip(book.bid_price.tolist(), book.bid_amount.tolist(), strict=True)
    asks = zip(book.ask_price.tolist(), book.ask_amount.tolist(), strict=True)
    return [[price / tick, amount / lot] for price, amount in bids], [
        [price / tick, amount / lot] for price, amount in asks
    ]


def levels(side: object) -> list[list[float]]:
    return [level[:2] for level in cast("list[list[float]]", side)]


@pytest.mark.parametrize("exchange_id", MARKETS)
async def test_a_book_is_that_of_the_exchange(sandbox: Sandbox, open_on: Open, exchange_id: str):
    exchange = await open_on(exchange_id)
    sample = await exchange.order_book(MARKETS[exchange_id], 20)
    bids, asks = truth(sandbox, exchange_id, 20)
    assert (levels(sample.bids)[:20], levels(sample.asks)[:20]) == (bids, asks)
    assert len(bids) == 20
    assert abs(sample.received_at - datetime.now(UTC)) < timedelta(seconds=30)
    assert abs(sample.exchange_at - datetime.fromtimestamp(NOW_MS / 1000, UTC)) < timedelta(seconds=30)
    assert sample.raw is not None


async def test_times_and_numbers_of_a_book_are_kept_where_the_exchange_gives_them(open_on: Open):
    samples: dict[str, BookSample] = {}
    for exchange_id, symbol in MARKETS.items():
        samples[exchange_id] = await (await open_on(exchange_id)).order_book(symbol, 5)
    timed = {exchange_id for exchange_id, sample in samples.items() if sample.exchange_ms is not None}
    numbered = {exchange_id for exchange_id, sample in samples.items() if sample.nonce is not None}
    assert timed == {"binanceusdm", "coinbase", "okx", "bybit"}
    assert numbered == {"binance", "binanceusdm", "coinbaseexchange"}


@pytest.mark.parametrize(
    ("exchange_id", "depth", "name", "asked"),
    [
        ("binance", 20, "limit", "20"),
        ("binance", 21, "limit", "50"),
        ("binanceusdm", 1, "limit", "5"),
        ("kraken", 33, "count", "33"),
        ("coinbase", 33, "limit", "33"),
        ("okx", 400, "sz", "400"),
        ("bybit", 7, "limit", "7"),
    ],
)
async def test_the_smallest_depth_that_the_exchange_takes_is_asked_for(
    sandbox: Sandbox, open_on: Open, exchange_id: str, depth: int, name: str, asked: str
):
    exchange = await open_on(exchange_id)
    sample = await exchange.order_book(MARKETS[exchange_id], depth)
    assert sandbox.requests[-1].query[name] == asked
    assert len(sample.bids) >= depth


@pytest.mark.parametrize(("exchange_id", "most"), [("binance", 1000), ("kraken", 500), ("okx", 400), ("bybit", 200)])
async def test_a_depth_that_no_request_gives_is_refused(open_on: Open, exchange_id: str, most: int):
    exchange = await open_on(exchange_id)
    with pytest.raises(InputError, match=f"ask for {most} or fewer"):
        await exchange.order_book(MARKETS[exchange_id], most + 1)
    with pytest.raises(InputError, match="1 or more"):
        await exchange.order_book(MARKETS[exchange_id], 0)


@pytest.mark.parametrize("exchange_id", MARKETS)
async def test_levels_keep_the_order_in_which_they_came(sandbox: Sandbox, open_on: Open, exchange_id: str):
    exchange = await open_on(exchange_id)
    sandbox.faults.add(Fault("unsorted_book"))
    sample = await exchange.order_book(MARKETS[exchange_id], 20)
    depth = len(sample.bids)
    bids, asks = truth(sandbox, exchange_id, depth)
    assert (levels(sample.bids), levels(sample.asks)) == (bids[::-1], asks[::-1])


@pytest.mark.parametrize("exchange_id", MARKETS)
async def test_empty_and_one_sided_books_are_passed_on(sandbox: Sandbox, open_on: Open, exchange_id: str):
    exchange = await open_on(exchange_id)
    await exchange.listing(MARKETS[exchange_id])
    sandbox.faults.add(Fault("empty_book", count=1))
    sample = await exchange.order_book(MARKETS[exchange_id], 20)
    assert (list(sample.bids), list(sample.asks)) == ([], [])
    sandbox.faults.add(Fault("one_sided_book", count=1))
    sample = await exchange.order_book(MARKETS[exchange_id], 20)
    assert (len(sample.bids) >= 20, list(sample.asks)) == (True, [])


@pytest.mark.parametrize("exchange_id", MARKETS)
@pytest.mark.parametrize("kind", ["null_price", "text_price"])
async def test_one_bad_level_does_not_spoil_a_book(sandbox: Sandbox, open_on: Open, exchange_id: str, kind: Any):
    exchange = await open_on(exchange_id)
    sandbox.faults.add(Fault(kind, rows=1))
    sample = await exchange.order_book(MARKETS[exchange_id], 20)
    bids, asks = truth(sandbox, exchange_id, 20)
    assert cast("list[list[object]]", sample.bids)[0][0] is None
    assert (levels(sample.bids)[1:20], levels(sample.asks)[:20]) == (bids[1:], asks)


async def test_an_answer_without_a_book_is_asked_for_again_and_given_up_on(sandbox: Sandbox, open_on: Open):
    exchange = await open_on("kraken", attempts=2)
    await exchange.listing("BTC/USD")
    sandbox.faults.add(Fault("html", path="Depth", count=1))
    await exchange.order_book("BTC/USD", 20)
    assert exchange.retries == 1
    sandbox.faults.add(Fault("html", path="Depth"))
    with pytest.raises(BadPage):
        await exchange.order_book("BTC/USD", 20)


async def test_bad_questions_are_refused(open_on: Open):
    exchange = await open_on("binance")
    with pytest.raises(UnknownSymbol):
        await exchange.order_book("BTC/USDTT", 20)
    exchange = await open_on("derive")
    with pytest.raises(PermanentError, match="gives no order books through ccxt: choose another exchange"):
        await exchange.order_book("BTC/USD:USDC", 20)
    assert exchange.requests == 0


async def test_a_clock_of_whole_seconds_stamps_no_book_before_it_was_there(open_on: Open):
    exchange = await open_on("kraken")
    sample = await exchange.order_book("BTC/USD", 5)
    assert sample.exchange_at >= datetime.fromtimestamp(NOW_MS / 1000, UTC)


def test_a_book_that_ccxt_makes_by_itself_is_kept_as_it_made_it():
    book = {"bids": [[1.0, 2.0]], "asks": [[2.0, 2.0]], "timestamp": None, "nonce": None}
    now = datetime.now(UTC)
    assert sample_of(book, received_at=now, exchange_at=now, whose="The book").raw == book
