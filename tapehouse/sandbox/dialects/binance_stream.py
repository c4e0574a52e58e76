"""Binance's streams: spot (stream.binance.com) and USDT-M futures (fstream.binance.com).

The rules are those of developers.binance.com ("WebSocket Streams" of each product, "Live Subscribing/Unsubscribing
to streams"), the shapes those of recorded messages. Of its streams there are `@trade`, `@aggTrade`, `@depth`,
`@bookTicker` and `@kline_`, subscribed to by message.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from tapehouse.sandbox.bars import Grid
from tapehouse.sandbox.dialects.binance_products import SPOT, USD_FUTURES, Product
from tapehouse.sandbox.dialects.binance_rows import (
    GRIDS,
    encode_bars,
    encode_levels,
    encode_single_trades,
    encode_trades,
    market_name,
)
from tapehouse.sandbox.feeds import (
    Feed,
    Heard,
    Message,
    Tell,
    bar_at,
    has_traded,
    merged_changes,
    moments,
    trades_between,
)
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.tape import NS_PER_MS, Book, BookChange, Trades

_KLINE_EVERY_MS: Final = 2000
# Books are told as often as they change: every 100 ms.
_AS_THEY_COME_MS: Final = 100
_METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS")


@dataclass(frozen=True, slots=True)
class StreamProduct:
    """What sets the streams of one product apart: `depths` maps the names of its book streams to how often they tell.

    `numbers_previous` is whether a change of a book names the last update before it.
    """

    product: Product
    host: str
    paths: tuple[str, ...]
    ping_every_s: float
    depths: Mapping[str, int]
    numbers_previous: bool


SPOT_STREAMS: Final = StreamProduct(
    SPOT,
    host="stream.binance.com",
    paths=("/ws",),
    ping_every_s=20.0,
    depths={"depth": 1000, "depth@100ms": 100},
    numbers_previous=False,
)
FUTURES_STREAMS: Final = StreamProduct(
    USD_FUTURES,
    host="fstream.binance.com",
    paths=("/ws", "/public/ws", "/market/ws"),
    ping_every_s=180.0,
    depths={"depth": 250, "depth@100ms": 100, "depth@500ms": 500},
    numbers_previous=True,
)


class BinanceStream:
    """The streams of one product of Binance."""

    heartbeat: str | None = None

    def __init__(self, streams: StreamProduct, markets: Sequence[Market]) -> None:
        self.exchange = streams.product.exchange
        self.host = streams.host
        self.ping_every_s: float | None = streams.ping_every_s
        self._streams = streams
        self._product = streams.product
        own = [market for market in markets if market.exchange == self.exchange]
        self._by_name = {market_name(market).lower(): market for market in own}
        self._by_symbol = {market.symbol: market for market in own}
        self._kinds: dict[str, Tell] = {
            "trade": self._trades,
            "aggTrade": self._aggregates,
            "bookTicker": self._best_levels,
            **{f"kline_{name}": partial(self._klines, name, grid) for name, grid in GRIDS.items()},
            **{name: partial(self._changes, every_ms) for name, every_ms in streams.depths.items()},
        }

    def has(self, path: str) -> bool:
        """Whether there are streams at that path."""
        return any(path == own or path.startswith(f"{own}/") for own in self._streams.paths)

    def greeting(self) -> Sequence[str]:
        """Nothing."""
        return ()

    def market(self, symbol: str) -> Market | None:
        """The market that ccxt calls by that symbol."""
        return self._by_symbol.get(symbol)

    def hear(self, text: str, names: Sequence[str], now_ms: int) -> Heard:  # noqa: ARG002 -- answers tell no time
        """What a request comes to; of a market that it does not know, a stream tells nothing."""
        try:
            request = json.loads(text)
        except ValueError:
            return _refused(3, "Invalid JSON: expected value at line 1 column 1", None)
        if not isinstance(request, dict):
            return _refused(2, "Invalid request: request must be an object", None)
        fields = cast("dict[str, Any]", request)
        method, request_id = fields.get("method"), fields.get("id")
        if method not in _METHODS:
            return _refused(2, f"Invalid request: unknown variant {method}, expected one of {_METHODS}", request_id)
        if not isinstance(request_id, int) or request_id < 0:
            return _refused(2, "Invalid request: request ID must be an unsigned integer", None)
        if method == "LIST_SUBSCRIPTIONS":
            return Heard([_answer({"result": list(names), "id": request_id})])
        wanted = fields.get("params")
        if not isinstance(wanted, list) or not all(self._is_stream(name) for name in cast("list[object]", wanted)):
            return _refused(2, "Invalid request: invalid stream", request_id)
        streams = cast("list[str]", wanted)
        accepted = [_answer({"result": None, "id": request_id})]
        if method == "UNSUBSCRIBE":
            return Heard(accepted, ended=streams)
        return Heard(accepted, begun=[self._feed(name) for name in streams if name.split("@")[0] in self._by_name])

    def _is_stream(self, name: object) -> bool:
        return isinstance(name, str) and name.partition("@")[2] in self._kinds

    def _feed(self, name: str) -> Feed:
        market, _, kind = name.partition("@")
        return Feed(name, self._by_name[market].symbol, self._kinds[kind])

    def _trades(self, market: Market, start_ms: int, end_ms: int) -> list[Message]:
        trades = trades_between(market, start_ms, end_ms)
        return self._told("trade", market, trades, encode_single_trades(self._product, market, trades))

    def _aggregates(self, market: Market, start_ms: int, end_ms: int) -> list[Message]:
        trades = trades_between(market, start_ms, end_ms)
        return self._told("aggTrade", market, trades, encode_trades(self._product, market, trades))

    def _told(self, event: str, market: Market, trades: Trades, rows: list[str]) -> list[Message]:
        name = market_name(market)
        return [
            Message(time_ms, f'{{"e":"{event}","E":{time_ms},"s":"{name}",{row[1:]}')
            for time_ms, row in zip(trades.time_ms.tolist(), rows, strict=True)
        ]

    def _changes(self, every_ms: int, market: Market, start_ms: int, end_ms: int) -> list[Message]:
        changes = (
            market.history.book_changes(start_ms, end_ms)
            if every_ms == _AS_THEY_COME_MS
            else merged_changes(market, start_ms, end_ms, every_ms=every_ms)
        )
        return [Message(change.time_ms, self._change(market, change), is_book=True) for change in changes]

    def _change(self, market: Market, change: BookChange) -> str:
        time_ms, futures = change.time_ms, self._streams.numbers_previous
        bids = ",".join(encode_levels(self._product, market, change.bid_price, change.bid_amount))
        asks = ",".join(encode_levels(self._product, market, change.ask_price, change.ask_amount))
        traded_at = f'"T":{time_ms},' if futures else ""
        previous = f'"pu":{change.first_nonce - 1},' if futures else ""
        return (
            f'{{"e":"depthUpdate","E":{time_ms},{traded_at}"s":"{market_name(market)}","U":{change.first_nonce},'
            f'"u":{change.nonce},{previous}"b":[{bids}],"a":[{asks}]}}'
        )

    def _best_levels(self, market: Market, start_ms: int, end_ms: int) -> list[Message]:
        """The best bid and ask whenever the book has changed; nothing while a side is empty."""
        books = (market.history.book(time_ms, 1) for time_ms in market.history.book_times(start_ms, end_ms))
        return [
            Message(book.time_ms, self._best(market, book))
            for book in books
            if len(book.bid_price) and len(book.ask_price)
        ]

    def _best(self, market: Market, book: Book) -> str:
        (bid,) = encode_levels(self._product, market, book.bid_price, book.bid_amount)
        (ask,) = encode_levels(self._product, market, book.ask_price, book.ask_amount)
        (bid_price, bid_amount), (ask_price, ask_amount) = json.loads(bid), json.loads(ask)
        told = {"u": book.nonce, "s": market_name(market), "b": bid_price, "B": bid_amount}
        told |= {"a": ask_price, "A": ask_amount}
        if self._streams.numbers_previous:
            told = {"e": "bookTicker", **told, "T": book.time_ms, "E": book.time_ms}
        return _answer(told)

    def _klines(self, interval: str, grid: Grid, market: Market, start_ms: int, end_ms: int) -> list[Message]:
        """The candle every two seconds if it was traded, and once more when it closes, traded or not."""
        messages: list[Message] = []
        for time_ms in moments(start_ms, end_ms, every_ms=_KLINE_EVERY_MS):
            closes = grid.floor(time_ms) == time_ms
            if closes or has_traded(market, time_ms - _KLINE_EVERY_MS, time_ms):
                open_ms = grid.floor(time_ms - 1)
                bar = bar_at(market, grid, open_ms, now_ms=time_ms)
                messages += [
                    Message(time_ms, self._kline(interval, market, json.loads(row), time_ms, closes=closes))
                    for row in encode_bars(self._product, market, grid, bar)
                ]
        return messages

    def _kline(self, interval: str, market: Market, row: list[Any], time_ms: int, *, closes: bool) -> str:
        name = market_name(market)
        first_id, last_id = _ids(market, row[0], time_ms)
        candle = {"t": row[0], "T": row[6], "s": name, "i": interval, "f": first_id, "L": last_id}
        candle |= {"o": row[1], "c": row[4], "h": row[2], "l": row[3], "v": row[5], "n": row[8], "x": closes}
        candle |= {"q": row[7], "V": row[9], "Q": row[10], "B": row[11]}
        return _answer({"e": "kline", "E": time_ms, "s": name, "k": candle})


def _ids(market: Market, start_ms: int, end_ms: int) -> tuple[int, int]:
    """The ids of the first and the last trade in [start_ms, end_ms); -1 where there is none."""
    history = market.history
    first, stop = history.rank_at(start_ms * NS_PER_MS), history.rank_at(end_ms * NS_PER_MS)
    if first == stop:
        return -1, -1
    return int(history.ranked(first, first + 1).trade_id[0]), int(history.ranked(stop - 1, stop).trade_id[0])


def _refused(code: int, message: str, request_id: object) -> Heard:
    return Heard([_answer({"error": {"code": code, "msg": message}, "id": request_id})])


def _answer(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
