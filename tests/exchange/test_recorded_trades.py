"""Recorded trades and order books of all five exchanges, as our reading of them and as ccxt's own gives them."""

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import ccxt.async_support as ccxt_async
import pytest

from tapehouse.exchange.habits import habits_of
from tapehouse.exchange.watched import watched_exchange

RECORDED: Final = Path(__file__).parents[3] / "shared" / "data" / "rest"
# Of each exchange the answers that hold trades, and where in them; numbers are read as text, as ccxt does.
TRADES: Final[dict[str, tuple[str, str, Callable[[Any], list[Any]]]]] = {
    "binance": ("binance", "api.binance.com/api/v3/aggTrades", lambda body: body),
    "binance trades": ("binance", "/v1/trades", lambda body: body),
    "binanceusdm": ("binanceusdm", "/fapi/v1/aggTrades", lambda body: body),
    "binancecoinm": ("binancecoinm", "/dapi/v1/aggTrades", lambda body: body),
    "kraken": ("kraken", "/public/Trades", lambda body: next(iter(body["result"].values()))),
    "coinbase": ("coinbase", "/market/products/BTC-USD/ticker", lambda body: body["trades"]),
    "bybit": ("bybit", "/v5/market/recent-trade", lambda body: body["result"]["list"]),
    "okx": ("okx", "/v5/market/trades", lambda body: body["data"]),
}
FILES: Final = {"binanceusdm": "binance", "binancecoinm": "binance", "coinbaseexchange": "coinbase"}
CELLS: Final = ("timestamp", "id", "side", "price", "amount", "info")
Row = tuple[Any, ...]


def bodies(exchange_id: str, url_part: str) -> list[Any]:
    path = RECORDED / f"{FILES.get(exchange_id, exchange_id)}.jsonl.gz"
    if not path.exists():
        pytest.skip("The recorded answers are not here.")
    with gzip.open(path, "rt") as lines:
        records = [json.loads(line) for line in lines]
    found = [one["response"]["body"] for one in records if url_part in one["request"]["url"].partition("?")[0]]
    assert found
    return [json.loads(body, parse_float=str, parse_int=str) for body in found]


def market_of(exchange: Any) -> Mapping[str, Any]:
    described = {"id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "type": "spot", "spot": True}
    market: dict[str, Any] = exchange.safe_market_structure(described)
    exchange.markets_by_id = {}
    return market


def watched(exchange_id: str) -> Any:
    return watched_exchange(
        exchange_id,
        habits_of(exchange_id),
        timeout_s=1.0,
        on_request=lambda: None,
        on_headers=lambda _: None,
        pacer=None,
    )


@pytest.mark.parametrize("case", TRADES)
async def test_recorded_trades_are_read_as_ccxt_reads_them(case: str):
    exchange_id, url_part, trades_of = TRADES[case]
    ours, plain = watched(exchange_id), getattr(ccxt_async, exchange_id)()
    count = 0
    for body in bodies(exchange_id, url_part):
        trades = trades_of(body)
        rows = cast("list[Row]", ours.parse_trades(trades, market_of(ours)))
        expected = [plain.parse_trade(trade, market_of(plain)) for trade in trades]
        turned = {"buy": "sell", "sell": "buy"} if exchange_id == "coinbase" else {}
        sides = [turned.get(trade["side"], trade["side"]) for trade in expected]
        assert [(*row[:2], *row[3:]) for row in rows] == [
            tuple(trade[cell] for cell in CELLS if cell != "side") for trade in expected
        ]
        assert [row[2] for row in rows] == sides
        count += len(rows)
    assert count > 0
    await ours.close()
    await plain.close()


async def test_recorded_numbers_and_times_come_through_unchanged():
    kraken = watched("kraken")
    (_, body) = bodies("kraken", "/public/Trades")
    trades = cast("list[list[str]]", body["result"]["XBTUSDT"])
    rows = cast("list[Row]", kraken.parse_trades(trades, market_of(kraken)))
    assert [row[:5] for row in rows] == [
        (int(float(time) * 1000), trade_id, {"b": "buy", "s": "sell"}[side], float(price), float(amount))
        for price, amount, time, side, _, _, trade_id in trades
    ]
    assert len(rows) == 1000
    await kraken.close()


async def test_the_side_of_coinbases_trades_is_the_takers():
    coinbase = watched("coinbase")
    (body,) = bodies("coinbase", "/market/products/BTC-USD/ticker")
    row = cast("list[Row]", coinbase.parse_trades(body["trades"], market_of(coinbase)))[0]
    # The last trade, at the best ask: somebody bought what was offered there.
    assert (row[3], row[2]) == (float(body["best_ask"]), "buy")
    await coinbase.close()


BOOKS: Final[dict[str, tuple[str, Callable[[Any], Any], Sequence[Any]]]] = {
    "binance": ("api.binance.com/api/v3/depth", lambda body: body, ("bids", "asks", 0, 1)),
    "binanceusdm": ("/fapi/v1/depth", lambda body: body, ("bids", "asks", 0, 1)),
    "kraken": ("/public/Depth", lambda body: next(iter(body["result"].values())), ("bids", "asks", 0, 1)),
    "coinbase": ("/product_book", lambda body: body["pricebook"], ("bids", "asks", "price", "size")),
    "coinbaseexchange": ("/products/BTC-USD/book", lambda body: body, ("bids", "asks", 0, 1)),
    "bybit": ("/v5/market/orderbook", lambda body: body["result"], ("b", "a", 0, 1)),
    "okx": ("/v5/market/books", lambda body: body["data"][0], ("bids", "asks", 0, 1)),
}


@pytest.mark.parametrize("exchange_id", BOOKS)
async def test_recorded_books_keep_their_levels_in_order(exchange_id: str):
    url_part, book_of, keys = BOOKS[exchange_id]
    bid_key, ask_key, price, amount = keys
    exchange = watched(exchange_id)
    for body in bodies(exchange_id, url_part):
        book = book_of(body)
        parsed = exchange.parse_order_book(book, "BTC/USD", 17, *keys)
        for side, key in (("bids", bid_key), ("asks", ask_key)):
            assert [level[:2] for level in parsed[side]] == [
                [float(level[price]), float(level[amount])] for level in book[key]
            ]
        assert parsed["timestamp"] == 17
        assert parsed["info"] is book
    await exchange.close()


async def test_one_row_that_ccxt_cannot_read_stays_as_it_came():
    binance = watched("binance")
    trade = {"a": "7", "p": "1.5", "q": "2", "T": "1735689600000", "m": False}
    rows = binance.parse_trades([trade, None, {}, trade], market_of(binance))
    read = (1_735_689_600_000, "7", "buy", 1.5, 2.0, trade)
    assert rows == [read, None, (None, None, None, None, None, {}), read]
    await binance.close()
