"""Recorded REST answers, and how tapehouse asks for such answers today, or why it never does."""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from tests.recorded import accessors
from tests.recorded.sessions import rest_answers

Kind = Literal["candles", "trades", "book", "listings", "time"]


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded answer."""

    name: str
    url: str
    body: str

    @property
    def path(self) -> str:
        """Host and path."""
        parts = urlsplit(self.url)
        return f"{parts.netloc}{parts.path}"

    @property
    def json(self) -> Any:
        """The body as JSON, its decimals exact."""
        return json.loads(self.body, parse_float=Decimal)

    def asked(self, name: str) -> str | None:
        """What the query says under that name."""
        return parse_qs(urlsplit(self.url).query).get(name, [None])[0]


@dataclass(frozen=True, slots=True)
class Asked:
    """How tapehouse asks for such an answer today: of which ccxt class, at which `host/path`, for which market.

    `read` gives the numbers of a body; `params` go with ccxt's request where it would ask elsewhere.
    """

    kind: Kind
    exchange_id: str
    places: tuple[str, ...]
    read: Callable[[Any], Any]
    market_id: str = ""
    timeframe: str = ""
    params: tuple[tuple[str, str], ...] = ()


def records_of(folder: Path, exchange: str) -> list[Record]:
    """All that was recorded of an exchange, in the order of the file, and what its session began with."""
    with gzip.open(folder / "rest" / f"{exchange}.jsonl.gz", "rt") as lines:
        told = [json.loads(line) for line in lines]
    begun_with = rest_answers(folder / "ws_sessions" / f"{exchange.upper()}.0.txt.gz")
    return [
        *(Record(f"rest-{place}", one["request"]["url"], one["response"]["body"]) for place, one in enumerate(told)),
        *(Record(f"session-{place}", url, json.dumps(body)) for place, (url, body) in enumerate(begun_with)),
    ]


def asked_of(record: Record) -> Asked | str:
    """How tapehouse asks for such an answer, or why it never does."""
    for pattern, ask in _ASKED.items():
        if re.fullmatch(pattern, record.path):
            return ask(record)
    return next(reason for pattern, reason in NEVER_ASKED.items() if re.fullmatch(pattern, record.path))


_BINANCE_IDS = {
    "api.binance.com": "binance",
    "api.binance.us": "binanceus",
    "fapi.binance.com": "binanceusdm",
    "dapi.binance.com": "binancecoinm",
}
_BINANCE_TRADES = {
    "binance": "publicGetTrades",
    "binanceus": "publicGetTrades",
    "binanceusdm": "fapiPublicGetTrades",
    "binancecoinm": "dapiPublicGetTrades",
}


def _binance(record: Record) -> Asked:
    """Answers of v1 of the spot API look like those of v3, at whose place ccxt asks today."""
    host, _, path = record.path.partition("/")
    exchange_id, place = _BINANCE_IDS[host], record.path.replace("/api/v1/", "/api/v3/")
    market_id = record.asked("symbol") or ""
    match path.rpartition("/")[2]:
        case "klines":
            read = accessors.coin_m_candles if exchange_id == "binancecoinm" else accessors.binance_candles
            return Asked("candles", exchange_id, (place,), read, market_id, record.asked("interval") or "")
        case "aggTrades":
            return Asked("trades", exchange_id, (place,), accessors.binance_aggregated, market_id)
        case "trades":
            params = (("fetchTradesMethod", _BINANCE_TRADES[exchange_id]),)
            return Asked("trades", exchange_id, (place,), accessors.binance_trades, market_id, params=params)
        case "depth":
            return Asked("book", exchange_id, (place,), accessors.binance_book, market_id)
        case "exchangeInfo":
            return Asked("listings", exchange_id, (place,), accessors.binance_markets)
        case _:
            return Asked("time", exchange_id, (place,), lambda body: body["serverTime"])


def _kraken(record: Record) -> Asked:
    market_id, place = record.asked("pair") or "", (record.path,)
    match record.path.rpartition("/")[2]:
        case "OHLC":
            return Asked("candles", "kraken", place, accessors.kraken_candles, market_id, "1m")
        case "Trades":
            return Asked("trades", "kraken", place, accessors.kraken_trades, market_id)
        case "Depth":
            return Asked("book", "kraken", place, accessors.kraken_book, market_id)
        case "AssetPairs":
            return Asked("listings", "kraken", place, accessors.kraken_markets)
        case _:
            return Asked("time", "kraken", place, lambda body: body["result"]["unixtime"] * 1000)


def _okx(record: Record) -> Asked | str:
    """Candles of long ago are asked for at a place of their own."""
    market_id = record.asked("instId") or "BTC-USDT"
    host = "www.okx.com/api/v5"
    match record.path.rpartition("/")[2]:
        case "candles" | "history-candles":
            places = (f"{host}/market/candles", f"{host}/market/history-candles")
            read = accessors.okx_candles(6 if market_id.endswith("-SWAP") else 5)
            return Asked("candles", "okx", places, read, market_id, "1m")
        case "trades":
            return Asked("trades", "okx", (record.path,), accessors.okx_trades, market_id)
        case "books":
            return Asked("book", "okx", (record.path,), accessors.okx_book, market_id)
        case _:
            kind = record.asked("instType") or "SPOT"
            if kind == "OPTION":
                return "options: no instruments of tapehouse"
            return Asked("listings", "okx", (f"{record.path}?instType={kind}",), accessors.okx_markets)


def _old_okx(record: Record) -> Asked:
    """The v3 API of okex.com, asked as v5 is today: nothing in it is in its place."""
    old = _unread("the v3 API")
    match record.path.rpartition("/")[2]:
        case "trades":
            return Asked("trades", "okx", ("www.okx.com/api/v5/market/trades",), old, "BTC-USDT")
        case "book" | "depth":
            return Asked("book", "okx", ("www.okx.com/api/v5/market/books",), old, "BTC-USDT")
        case _:
            return Asked("listings", "okx", ("www.okx.com/api/v5/public/instruments",), old)


def _bybit(record: Record) -> Asked:
    match record.path.rpartition("/")[2]:
        case "kline":
            return Asked("candles", "bybit", (record.path,), accessors.bybit_inverse_candles, "BTCUSD", "1h")
        case "recent-trade":
            return Asked("trades", "bybit", (record.path,), accessors.bybit_trades, "BTCUSDT")
        case "orderbook":
            return Asked("book", "bybit", (record.path,), accessors.bybit_book, "BTCUSDT")
        case _:
            category = record.json["result"]["category"]
            return Asked("listings", "bybit", (f"{record.path}?category={category}",), accessors.bybit_markets)


def _old_bybit(record: Record) -> Asked:
    """The v2 API, asked as v5 is today."""
    old = _unread("the v2 API")
    if record.path.endswith("L2"):
        return Asked("book", "bybit", ("api.bybit.com/v5/market/orderbook",), old, "BTCUSDT")
    return Asked("listings", "bybit", ("api.bybit.com/v5/market/instruments-info",), old)


def _coinbase(record: Record) -> Asked:
    match record.path.rpartition("/")[2]:
        case "candles":
            return Asked("candles", "coinbase", (record.path,), accessors.coinbase_candles, "BTC-USD", "1h")
        case "ticker":
            return Asked("trades", "coinbase", (record.path,), accessors.coinbase_trades, "BTC-USD")
        case "product_book":
            return Asked("book", "coinbase", (record.path,), accessors.coinbase_book, "BTC-USD")
        case _:
            return Asked("listings", "coinbase", (record.path,), accessors.coinbase_markets)


def _gdax(record: Record) -> Asked:
    """Coinbase Exchange under the name it had until 2018: the same JSON."""
    host = "api.exchange.coinbase.com/products"
    if record.path.endswith("/book"):
        return Asked("book", "coinbaseexchange", (f"{host}/BTC-USD/book",), accessors.gdax_book, "BTC-USD")
    if record.path.endswith("/products"):
        return Asked("listings", "coinbaseexchange", (host,), accessors.gdax_markets)
    place = f"{host}/BTC-USD/candles"
    return Asked("candles", "coinbaseexchange", (place,), accessors.coinbase_exchange_candles, "BTC-USD", "1m")


def _unread(what: str) -> Callable[[Any], Any]:
    def refuse(_body: object) -> None:
        raise AssertionError(f"an answer of {what} was read")

    return refuse


_ASKED: dict[str, Callable[[Record], Asked | str]] = {
    r"[fd]?api\.binance\.(com|us)/[fd]?api/v[13]/(klines|aggTrades|trades|depth|exchangeInfo|time)": _binance,
    r"api\.kraken\.com/0/public/(OHLC|Trades|Depth|AssetPairs|Time)": _kraken,
    r"www\.okx\.com/api/v5/(market/(candles|history-candles|trades|books)|public/instruments)": _okx,
    r"www\.okex\.com/api/(spot|swap|futures)/v3/instruments(/[^/]+/(book|depth|trades))?": _old_okx,
    r"api\.bybit\.com/v5/market/(kline|recent-trade|orderbook|instruments-info)": _bybit,
    r"api\.bybit\.com/v2/public/(orderBook/L2|symbols)": _old_bybit,
    r"api\.coinbase\.com/api/v3/brokerage/market/(products(/BTC-USD/(candles|ticker))?|product_book)": _coinbase,
    r"api\.(gdax|pro\.coinbase)\.com/products(/BTC-USD/book)?|.*example-historical-candles\.json": _gdax,
}

NEVER_ASKED: dict[str, str] = {
    r".*/(tickers?|ticker/24hr|ticker/price|ticker/bookTicker|Ticker)|.*example-(ticker|stats)-data\.json": "ticker",
    r".*/(fundingRate|funding_time|funding/history)": "funding rate",
    r".*/(openInterest|open_interest)": "open interest",
    r".*/(premiumIndex|index)": "index price",
    r".*/(indexPriceKlines|markPriceKlines)": "candles of an index or a mark price, not of trades",
    r".*/continuousKlines": "candles of a contract type, whatever its contract: no instrument",
    r".*/history-trades": "okx's older trades, by page and of three months only: recent ones are asked for",
    r".*/products/BTC-USD": "one product: all are asked for at once",
    r".*/Assets": "currencies",
    r".*/SystemStatus": "status of the exchange",
}
