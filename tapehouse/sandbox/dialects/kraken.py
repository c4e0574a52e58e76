"""Kraken: spot markets at api.kraken.com.

The rules are those of docs.kraken.com ("Get OHLC Data", "Get Recent Trades", "Get Order Book", "Get
Tradable Asset Pairs", "API Rate Limits"), the shapes those of recorded responses. Errors come with status 200.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import Final

from tapehouse.sandbox.answer import (
    Answer,
    Ask,
    BookPage,
    Layout,
    LevelLayout,
    Page,
    Refused,
    Reply,
    TradeLayout,
    json_answer,
)
from tapehouse.sandbox.bars import MINUTE_MS, Grid
from tapehouse.sandbox.dialects.kraken_rows import INTERVALS, encode_bars, encode_levels, encode_trades
from tapehouse.sandbox.limits import DecayingCounter
from tapehouse.sandbox.market import Market, step
from tapehouse.sandbox.pages import Pages
from tapehouse.sandbox.tape import NS_PER_MS, first_trades, last_trades

_LAYOUT: Final = Layout(time=0, open=1, high=2, low=3, close=4, volume=6, time_unit_ms=1000)
_TRADE_LAYOUT: Final = TradeLayout(time=2, id=6, side=3, price=0, amount=1, time_unit_ms=1000)
_LEVEL_LAYOUT: Final = LevelLayout(price=0, amount=1)
_COMMITTED_BARS: Final = 720
_MOST_TRADES: Final = 1000
_DEFAULT_DEPTH: Final = 100
_MOST_DEPTH: Final = 500
_NS_PER_S: Final = 1_000_000_000
# `since` is in seconds or in nanoseconds: nobody means the first 100 s of 1970.
_LEAST_SINCE_NS: Final = 10**11
_REQUESTS_AT_ONCE: Final = 15
_REQUESTS_PER_S: Final = 1
_ROOT: Final = "/0/public/"
# The old assets carry a letter for their class and a name of Kraken's own.
_OLD_ASSETS: Final = {"BTC": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "USD": "ZUSD", "EUR": "ZEUR"}


class Kraken:
    """Kraken's public market data."""

    def __init__(self, markets: Sequence[Market], *, requests_at_once: int | None) -> None:
        self.exchange = "kraken"
        self.host = "api.kraken.com"
        self._markets = {_pair_id(market): market for market in markets if market.exchange == self.exchange}
        self._by_altname = {_altname(market): market for market in self._markets.values()}
        self._pages = Pages(encode_bars, fills_empty=True)
        self._limiter = DecayingCounter(requests_at_once or _REQUESTS_AT_ONCE, per_s=_REQUESTS_PER_S)

    def refuse(self, ask: Ask, now_s: float) -> Answer | None:  # noqa: ARG002 -- every request counts the same
        """An error with status 200: there is neither 429 nor Retry-After."""
        return None if self._limiter.admit(now_s) is None else _error("EAPI:Rate limit exceeded").answer

    def answer(self, ask: Ask) -> Reply:
        """Its answer to the request."""
        match ask.path.removeprefix(_ROOT):
            case "Time":
                now = datetime.fromtimestamp(ask.now_ms // 1000, UTC)
                return _result({"unixtime": ask.now_ms // 1000, "rfc1123": format_datetime(now)})
            case "SystemStatus":
                now = datetime.fromtimestamp(ask.now_ms // 1000, UTC)
                return _result({"status": "online", "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}"})
            case "Assets":
                return _result(self._assets())
            case "AssetPairs":
                return _result({pair: _describe(market) for pair, market in self._markets.items()})
            case "OHLC":
                return self._ohlc(ask)
            case "Trades":
                return self._trades(ask)
            case "Depth":
                return self._depth(ask)
            case _:
                raise _error("EGeneral:Unknown method")

    def market_asked(self, ask: Ask) -> Market | None:
        """The market named by `pair`, by its id or its other name."""
        pair = ask.query.get("pair", "")
        return self._markets.get(pair) or self._by_altname.get(pair)

    def _ohlc(self, ask: Ask) -> Page:
        """Bars after `since`, of the last 720 and the one that is forming, whatever `since` says.

        An interval without a trade has a bar of the previous close; `last` is the last committed bar.
        """
        market = self._market(ask)
        interval, since = ask.query.get("interval", "1"), ask.query.get("since", "0")
        if not interval.isdecimal() or int(interval) not in INTERVALS or not since.lstrip("-").isdecimal():
            raise _error("EGeneral:Invalid arguments")
        grid = Grid(int(interval) * MINUTE_MS)
        forming_ms = grid.floor(ask.now_ms)
        start_ms = max(forming_ms - _COMMITTED_BARS * grid.length_ms, int(since) * 1000 + 1)
        # The bar that is forming is always there.
        start_ms = min(start_ms, forming_ms)
        rows = self._pages.rows(market, grid, start_ms, forming_ms + 1, most=_COMMITTED_BARS + 1, now_ms=ask.now_ms)
        last = (forming_ms - grid.length_ms) // 1000
        return Page(rows, _LAYOUT, f'{{"error":[],"result":{{"{_pair_id(market)}":[', f'],"last":{last}}}}}')

    def _trades(self, ask: Ask) -> Page:
        """The first trades after `since`, else the latest: 1,000 or `count`. `last` is the last one's time in ns."""
        market = self._market(ask)
        most = ask.at_most(_whole_number(ask, "count", default=_MOST_TRADES, most=_MOST_TRADES))
        now_ns, since_ns = ask.now_ms * NS_PER_MS, _since_ns(ask)
        if since_ns is None:
            trades = last_trades(market.history, now_ns, most=most)
        else:
            trades = first_trades(market.history, since_ns + 1, now_ns, most=most)
        last_ns = int(trades.time_ns[-1]) if len(trades) else since_ns or 0
        rows = encode_trades(market, trades)
        head = f'{{"error":[],"result":{{"{_pair_id(market)}":['
        return Page(rows, _TRADE_LAYOUT, head, f'],"last":"{last_ns}"}}}}')

    def _depth(self, ask: Ask) -> BookPage:
        """The order book, 100 levels a side or `count` of them, at most 500; the third value of a level is its time."""
        market = self._market(ask)
        depth = _whole_number(ask, "count", default=_DEFAULT_DEPTH, most=_MOST_DEPTH)
        book = market.history.book(ask.now_ms, depth)
        time_s = book.time_ms // 1000
        return BookPage(
            encode_levels(market, book.bid_price, book.bid_amount, time_s),
            encode_levels(market, book.ask_price, book.ask_amount, time_s),
            _LEVEL_LAYOUT,
            f'{{"error":[],"result":{{"{_pair_id(market)}":{{"bids":[',
            '],"asks":[',
            "]}}}",
        )

    def _market(self, ask: Ask) -> Market:
        if (market := self.market_asked(ask)) is None:
            raise _error("EQuery:Unknown asset pair")
        return market

    def _assets(self) -> Mapping[str, object]:
        names = {asset for market in self._markets.values() for asset in (market.base, market.quote)}
        return {
            _asset_id(name): {
                "aclass": "currency",
                "altname": _short_name(name),
                "decimals": 4 if _asset_id(name).startswith("Z") else 10,
                "display_decimals": 2 if _asset_id(name).startswith("Z") else 5,
                "status": "enabled",
            }
            for name in sorted(names)
        }


def _since_ns(ask: Ask) -> int | None:
    text = ask.query.get("since")
    if text is None:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) is None:
        raise _error("EGeneral:Invalid arguments")
    since = Decimal(text)
    return int(since if since >= _LEAST_SINCE_NS else since * _NS_PER_S)


def _whole_number(ask: Ask, name: str, *, default: int, most: int) -> int:
    text = ask.query.get(name, str(default))
    if not text.isdecimal() or text == "0":
        raise _error("EGeneral:Invalid arguments")
    return min(int(text), most)


def _describe(market: Market) -> Mapping[str, object]:
    return {
        "altname": _altname(market),
        "wsname": f"{_short_name(market.base)}/{_short_name(market.quote)}",
        "aclass_base": "currency",
        "base": _asset_id(market.base),
        "aclass_quote": "currency",
        "quote": _asset_id(market.quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": market.price_decimals,
        "lot_decimals": market.amount_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": step(min(market.amount_decimals, 4)),
        "costmin": "0.5",
        "tick_size": step(market.price_decimals),
        "status": "online" if market.active else "cancel_only",
    }


def _pair_id(market: Market) -> str:
    if market.base in _OLD_ASSETS and market.quote in _OLD_ASSETS:
        return _OLD_ASSETS[market.base] + _OLD_ASSETS[market.quote]
    return _altname(market)


def _altname(market: Market) -> str:
    return _short_name(market.base) + _short_name(market.quote)


def _short_name(asset: str) -> str:
    return _asset_id(asset)[1:] if asset in _OLD_ASSETS else asset


def _asset_id(asset: str) -> str:
    return _OLD_ASSETS.get(asset, asset)


def _result(value: object) -> Answer:
    return json_answer({"error": [], "result": value})


def _error(message: str) -> Refused:
    return Refused(json_answer({"error": [message]}))
