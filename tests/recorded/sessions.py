"""Recorded WebSocket sessions as trades and states of order books, read by hand from each exchange's own JSON."""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.recorded.ladder import Level


@dataclass(frozen=True, slots=True)
class SessionTrade:
    """A trade; `side` is the taker's, price and amount as received."""

    market: str
    time_ms: int
    trade_id: str | None
    side: str
    price: str | float
    amount: str | float
    raw: Any


@dataclass(frozen=True, slots=True)
class BookChange:
    """A snapshot or an update of a book; `checksum` is the exchange's own of the book after it."""

    market: str
    is_snapshot: bool
    bids: Sequence[Level]
    asks: Sequence[Level]
    time_ms: int | None = None
    nonce: int | None = None
    checksum: int | None = None


@dataclass(frozen=True, slots=True)
class BestLevels:
    """The best levels of a book, as the exchange itself told them beside its updates."""

    market: str
    nonce: int
    bid: Level
    ask: Level


Event = SessionTrade | BookChange | BestLevels


def events(path: Path, read: Callable[[Any], Iterator[Event]]) -> Iterator[tuple[datetime, Event]]:
    """What was received, and when: lines `<unix seconds>: <json>` or `<nanoseconds> <json>`; others are not of it."""
    with gzip.open(path, "rt") as lines:
        for line in lines:
            stamp, _, text = line.partition(" ")
            if stamp.endswith(":"):
                received_us = int(Decimal(stamp[:-1]) * 1_000_000)
            elif stamp.isdecimal():
                received_us = int(stamp) // 1000
            else:
                continue
            for event in read(json.loads(text)):
                yield datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=received_us), event


def rest_answers(path: Path) -> list[tuple[str, Any]]:
    """The addresses asked and the answers of REST: lines `<url> -> <unix seconds>: <json>`."""
    with gzip.open(path, "rt") as lines:
        told = (line.partition(" -> ") for line in lines if " -> " in line)
        return [(url, json.loads(rest.partition(": ")[2])) for url, _, rest in told]


def binance(message: Any) -> Iterator[Event]:
    """Trades, updates of depth and best levels; a snapshot asked for by REST meanwhile names no market."""
    if "lastUpdateId" in message:
        yield BookChange("", True, message["bids"], message["asks"], None, message["lastUpdateId"])
        return
    data = message["data"]
    match data.get("e"):
        case "depthUpdate":
            yield BookChange(data["s"], False, data["b"], data["a"], data["E"], data["u"])
        case "trade" | "aggTrade":
            trade_id = data["t"] if data["e"] == "trade" else data["a"]
            side = "sell" if data["m"] else "buy"  # m: the buyer is the maker
            yield SessionTrade(data["s"], data["T"], str(trade_id), side, data["p"], data["q"], data)
        case None if message["stream"].endswith("@bookTicker"):
            yield BestLevels(data["s"], data["u"], (data["b"], data["B"]), (data["a"], data["A"]))
        case _:
            return


def okx(message: Any) -> Iterator[Event]:
    """Trades and books of v5."""
    if "data" not in message:
        return
    market, channel = message["arg"]["instId"], message["arg"]["channel"]
    for data in message["data"]:
        if channel == "trades":
            yield SessionTrade(market, int(data["ts"]), data["tradeId"], data["side"], data["px"], data["sz"], data)
        if channel == "books":
            is_snapshot = message["action"] == "snapshot"
            time_ms, checksum = int(data["ts"]), data["checksum"]
            yield BookChange(market, is_snapshot, data["bids"], data["asks"], time_ms, checksum=checksum)


def kraken(message: Any) -> Iterator[Event]:
    """Trades, which have no ids, and books of v1; an update may come in two parts."""
    if isinstance(message, dict):
        return
    parts: list[Any]
    _, *parts, channel, market = message
    if channel == "trade":
        for price, volume, time, side, *_ in parts[0]:
            time_ms = int(Decimal(time) * 1000)
            yield SessionTrade(market, time_ms, None, {"b": "buy", "s": "sell"}[side], price, volume, parts[0])
        return
    data = {name: value for part in parts for name, value in part.items()}
    if "as" in data:
        yield BookChange(market, True, data["bs"], data["as"])
    else:
        yield BookChange(market, False, data.get("b", []), data.get("a", []), checksum=int(data["c"]))


def bybit(message: Any) -> Iterator[Event]:
    """Trades and books of 25 levels of the v2 API; of a level deleted only the price is told."""
    name, _, market = message.get("topic", "").partition(".")
    if name == "trade":
        for data in message["data"]:
            time_ms, side = int(data["trade_time_ms"]), data["side"].lower()
            yield SessionTrade(market, time_ms, data["trade_id"], side, data["price"], data["size"], data)
    if name == "orderBookL2_25":
        data, is_snapshot = message["data"], message["type"] == "snapshot"
        told = _bybit_snapshot(data) if is_snapshot else _bybit_update(data)
        bids = [[level["price"], level["size"]] for level in told if level["side"] == "Buy"]
        asks = [[level["price"], level["size"]] for level in told if level["side"] == "Sell"]
        nonce, time_ms = int(message["cross_seq"]), int(message["timestamp_e6"]) // 1000
        yield BookChange(market, is_snapshot, bids, asks, time_ms, nonce)


def coinbase(message: Any) -> Iterator[Event]:
    """Matches, whose side is the maker's, and level2 books of Coinbase Pro."""
    market = message.get("product_id", "")
    match message["type"]:
        case "match" | "last_match":
            side = {"buy": "sell", "sell": "buy"}[message["side"]]
            trade_id = str(message["trade_id"])
            yield SessionTrade(
                market, _iso_ms(message["time"]), trade_id, side, message["price"], message["size"], message
            )
        case "snapshot":
            yield BookChange(market, True, message["bids"], message["asks"])
        case "l2update":
            bids = [[price, size] for side, price, size in message["changes"] if side == "buy"]
            asks = [[price, size] for side, price, size in message["changes"] if side == "sell"]
            yield BookChange(market, False, bids, asks, _iso_ms(message["time"]))
        case _:
            return


def _bybit_snapshot(data: Any) -> list[Any]:
    return data["order_book"] if "order_book" in data else data  # noqa: SIM401 -- a list has no get()


def _bybit_update(data: Any) -> list[Any]:
    return [*({**level, "size": 0} for level in data["delete"]), *data["update"], *data["insert"]]


def _iso_ms(time: str) -> int:
    return (datetime.fromisoformat(time) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
