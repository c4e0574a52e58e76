"""Kraken's streams, the second version (ws.kraken.com/v2): trades, books with their checksums, candles.

The rules are those of docs.kraken.com ("Spot WebSocket v2": Trade, Book, Candles, Ping, Status, "Book checksum").
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain, groupby
from typing import Any, Final, cast
from zlib import crc32

from tapehouse.sandbox.bars import MINUTE_MS, Bars, Grid
from tapehouse.sandbox.dialects.kraken_rows import (
    INTERVALS,
    encode_bars,
    plain_amounts,
    plain_prices,
    written_time_ns,
)
from tapehouse.sandbox.feeds import Feed, Heard, Message, bar_at, has_traded, moments, trades_between
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.tape import NS_PER_MS, Book, BookChange, Trades, change_between, last_trades

_DEPTHS: Final = (10, 25, 100, 500, 1000)
_CHECKED_LEVELS: Final = 10
_SNAPSHOT_TRADES: Final = 50
_SNAPSHOT_BARS: Final = 720
_OHLC_EVERY_MS: Final = 1000
_SNAPSHOT_BY_DEFAULT: Final = {"trade": False, "book": True, "ohlc": True}
# Prices and amounts of levels as they are written.
Levels = Sequence[tuple[str, str]]


class KrakenStream:
    """Kraken's public streams."""

    exchange = "kraken"
    host = "ws.kraken.com"
    # It answers pings, and sends none.
    ping_every_s: float | None = None
    heartbeat: str | None = '{"channel":"heartbeat"}'

    def __init__(self, markets: Sequence[Market]) -> None:
        self._markets = {market.symbol: market for market in markets if market.exchange == self.exchange}

    def has(self, path: str) -> bool:
        """Whether there are streams at that path."""
        return path == "/v2"

    def greeting(self) -> Sequence[str]:
        """Its status."""
        status = '{"version":"2.0.10","system":"online","api_version":"v2","connection_id":6447481662169813000}'
        return (f'{{"channel":"status","type":"update","data":[{status}]}}',)

    def market(self, symbol: str) -> Market | None:
        """The market that ccxt, and Kraken too, calls by that symbol."""
        return self._markets.get(symbol)

    def hear(self, text: str, names: Sequence[str], now_ms: int) -> Heard:
        """What a request comes to: an answer and a snapshot for each symbol."""
        try:
            request = json.loads(text)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            return Heard([_written({"error": "Malformed request", "success": False, **_times(now_ms)})])
        fields = cast("dict[str, Any]", request)
        method, params = fields.get("method"), fields.get("params")
        about = {"req_id": fields["req_id"]} if "req_id" in fields else {}
        if method == "ping":
            return Heard([_written({"method": "pong", **about, **_times(now_ms)})])
        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            return Heard([_refused("Malformed request", {"method": method, **about}, now_ms)])
        about = {"method": method, **about}
        options = cast("dict[str, Any]", params)
        if (error := _error_in(options)) is not None:
            return Heard([_refused(error, about, now_ms)])
        heard = [self._heard_of(symbol, options, about, names, now_ms) for symbol in options["symbol"]]
        return Heard(
            list(chain.from_iterable(one.answers for one in heard)),
            list(chain.from_iterable(one.begun for one in heard)),
            list(chain.from_iterable(one.ended for one in heard)),
        )

    def _heard_of(
        self, symbol: object, options: Mapping[str, Any], about: Mapping[str, Any], names: Sequence[str], now_ms: int
    ) -> Heard:
        """What a request comes to for one of its symbols."""
        about = {**about, "symbol": symbol}
        if not isinstance(symbol, str) or (market := self._markets.get(symbol)) is None:
            return Heard([_refused(f"Currency pair not supported {symbol}", about, now_ms)])
        channel: str = options["channel"]
        feed, result = _feed(market, options)
        if about["method"] == "unsubscribe":
            if feed.name not in names:
                return Heard([_refused("Subscription Not Found", about, now_ms)])
            return Heard([_accepted(result, about, now_ms)], ended=[feed.name])
        if feed.name in names:
            return Heard([_refused("Already subscribed", about, now_ms)])
        is_wanted = bool(options.get("snapshot", _SNAPSHOT_BY_DEFAULT[channel]))
        answers = [_accepted({**result, "snapshot": is_wanted}, about, now_ms)]
        if is_wanted:
            answers.append(_snapshot(market, result, now_ms))
        return Heard(answers, begun=[feed])


def checksum(asks: Levels, bids: Levels) -> int:
    """Kraken's checksum of a book, of the best ten levels a side: the digits of each, without zeros in front."""
    numbers = chain.from_iterable((*asks[:_CHECKED_LEVELS], *bids[:_CHECKED_LEVELS]))
    return crc32("".join(number.replace(".", "").lstrip("0") for number in numbers).encode())


def _error_in(options: Mapping[str, Any]) -> str | None:
    """What is wrong with a subscription, whatever its symbols."""
    if options.get("channel") not in _SNAPSHOT_BY_DEFAULT:
        return "Subscription name invalid"
    if not isinstance(options.get("symbol"), list):
        return "Pair field must be an array"
    if options.get("depth", _DEPTHS[0]) not in _DEPTHS:
        return "Subscription depth not supported"
    if options.get("interval", INTERVALS[0]) not in INTERVALS:
        return "Subscription ohlc interval not supported"
    return None


def _feed(market: Market, options: Mapping[str, Any]) -> tuple[Feed, dict[str, Any]]:
    """The feed that is meant, and how an answer names it."""
    symbol = market.symbol
    match options["channel"]:
        case "trade":
            return Feed(f"trade/{symbol}", symbol, _trades), {"channel": "trade", "symbol": symbol}
        case "book":
            depth = options.get("depth", _DEPTHS[0])
            feed = Feed(f"book/{symbol}", symbol, partial(_changes, depth))
            return feed, {"channel": "book", "symbol": symbol, "depth": depth}
        case _:
            interval = options.get("interval", INTERVALS[0])
            feed = Feed(f"ohlc/{symbol}/{interval}", symbol, partial(_candles, interval))
            return feed, {"channel": "ohlc", "symbol": symbol, "interval": interval}


def _snapshot(market: Market, named: Mapping[str, Any], now_ms: int) -> str:
    match named["channel"]:
        case "trade":
            trades = last_trades(market.history, now_ms * NS_PER_MS, most=_SNAPSHOT_TRADES)
            return _message("trade", "snapshot", _trade_rows(market, trades))
        case "book":
            book = market.history.book(now_ms, named["depth"])
            levels = (book.bid_price, book.bid_amount, book.ask_price, book.ask_amount)
            whole = BookChange(book.time_ms, book.nonce, book.nonce, True, *levels)
            return _message("book", "snapshot", [_book_row(market, whole, book)])
        case _:
            interval: int = named["interval"]
            grid = Grid(interval * MINUTE_MS)
            start_ms = grid.floor(now_ms) - _SNAPSHOT_BARS * grid.length_ms
            bars = market.history.bars(grid, start_ms, grid.floor(now_ms) + grid.length_ms, now_ms=now_ms)
            return _message("ohlc", "snapshot", _ohlc_rows(market, interval, bars), time_ms=now_ms)


def _trades(market: Market, start_ms: int, end_ms: int) -> list[Message]:
    """The trades, those of one millisecond in one message."""
    trades = trades_between(market, start_ms, end_ms)
    timed = zip(trades.time_ms.tolist(), _trade_rows(market, trades), strict=True)
    return [
        Message(time_ms, _message("trade", "update", [row for _, row in rows]))
        for time_ms, rows in groupby(timed, key=lambda one: one[0])
    ]


def _trade_rows(market: Market, trades: Trades) -> list[str]:
    columns = (
        ["buy" if bought else "sell" for bought in trades.buyer_took.tolist()],
        plain_prices(market, trades.price),
        plain_amounts(market, trades.amount),
        trades.json_ids(),
        [_iso(written_time_ns(time_ns) // 1000) for time_ns in trades.time_ns.tolist()],
    )
    template = '"side":"%s","price":%s,"qty":%s,"ord_type":"market","trade_id":%s,"timestamp":"%s"'
    return [f'{{"symbol":"{market.symbol}",{template % row}}}' for row in zip(*columns, strict=True)]


def _changes(depth: int, market: Market, start_ms: int, end_ms: int) -> list[Message]:
    """How the best `depth` levels a side changed, whenever they did."""
    history = market.history
    messages: list[Message] = []
    before = history.book(start_ms, depth)
    for time_ms in history.book_times(start_ms, end_ms):
        after = history.book(time_ms, depth)
        change = change_between(before, after, depth=depth)
        if len(change.bid_price) or len(change.ask_price):
            row = _book_row(market, change, after)
            messages.append(Message(time_ms, _message("book", "update", [row]), is_book=True))
        before = after
    return messages


def _book_row(market: Market, change: BookChange, book: Book) -> str:
    """Levels that changed, with the checksum of the whole book after it."""
    told = {"bids": (change.bid_price, change.bid_amount), "asks": (change.ask_price, change.ask_amount)}
    sides = {
        name: ",".join(
            f'{{"price":{price},"qty":{amount}}}'
            for price, amount in zip(plain_prices(market, prices), plain_amounts(market, amounts), strict=True)
        )
        for name, (prices, amounts) in told.items()
    }
    best = slice(_CHECKED_LEVELS)
    asks, bids = (
        list(zip(plain_prices(market, prices[best]), plain_amounts(market, amounts[best]), strict=True))
        for prices, amounts in ((book.ask_price, book.ask_amount), (book.bid_price, book.bid_amount))
    )
    timestamp = f'"timestamp":"{_iso(book.time_ms * 1000)}"'
    return (
        f'{{"symbol":"{market.symbol}","bids":[{sides["bids"]}],"asks":[{sides["asks"]}],'
        f'"checksum":{checksum(asks, bids)},{timestamp}}}'
    )


def _candles(interval: int, market: Market, start_ms: int, end_ms: int) -> list[Message]:
    """The candle after each second in which it was traded, be it the last of the candle."""
    grid = Grid(interval * MINUTE_MS)
    messages: list[Message] = []
    for time_ms in moments(start_ms, end_ms, every_ms=_OHLC_EVERY_MS):
        if has_traded(market, time_ms - _OHLC_EVERY_MS, time_ms):
            bar = bar_at(market, grid, grid.floor(time_ms - 1), now_ms=time_ms)
            rows = _ohlc_rows(market, interval, bar)
            messages.append(Message(time_ms, _message("ohlc", "update", rows, time_ms=time_ms)))
    return messages


def _ohlc_rows(market: Market, interval: int, bars: Bars) -> list[str]:
    rows: list[str] = []
    for text in encode_bars(market, Grid(interval * MINUTE_MS), bars):
        time_s, open_, high, low, close, vwap, volume, trades = json.loads(text)
        begins, ends = (_iso(seconds * 1_000_000) for seconds in (time_s, time_s + interval * 60))
        rows.append(
            f'{{"symbol":"{market.symbol}","open":{open_},"high":{high},"low":{low},"close":{close},'
            f'"trades":{trades},"volume":{volume},"vwap":{vwap},"interval_begin":"{begins}","interval":{interval},'
            f'"timestamp":"{ends}"}}'
        )
    return rows


def _message(channel: str, kind: str, rows: Sequence[str], *, time_ms: int | None = None) -> str:
    told_at = "" if time_ms is None else f'"timestamp":"{_iso(time_ms * 1000)}",'
    return f'{{"channel":"{channel}","type":"{kind}",{told_at}"data":[{",".join(rows)}]}}'


def _accepted(result: Mapping[str, Any], about: Mapping[str, Any], now_ms: int) -> str:
    named = {name: value for name, value in about.items() if name != "symbol"}
    return _written({**named, "result": result, "success": True, **_times(now_ms)})


def _refused(error: str, about: Mapping[str, Any], now_ms: int) -> str:
    return _written({"error": error, **about, "success": False, **_times(now_ms)})


def _times(now_ms: int) -> dict[str, str]:
    return {"time_in": _iso(now_ms * 1000), "time_out": _iso(now_ms * 1000)}


def _iso(time_us: int) -> str:
    seconds, below = divmod(time_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{below:06d}Z"


def _written(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
