"""Binance: spot (api.binance.com), USDT-M futures (fapi.binance.com), and COIN-M futures without any market.

The rules are those of developers.binance.com ("Kline/Candlestick data", "Compressed/Aggregate trades list",
"Order book" of each product), the shapes those of recorded responses.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
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
from tapehouse.sandbox.bars import Grid
from tapehouse.sandbox.dialects.binance_products import Product
from tapehouse.sandbox.dialects.binance_rows import GRIDS, encode_bars, encode_levels, encode_trades, market_name
from tapehouse.sandbox.limits import WeightPerMinute
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.pages import Pages
from tapehouse.sandbox.tape import NS_PER_MS, first_trades, last_trades

_LAYOUT: Final = Layout(time=0, open=1, high=2, low=3, close=4, volume=5, time_unit_ms=1)
_TRADE_LAYOUT: Final = TradeLayout(time="T", id="a", side="m", price="p", amount="q", time_unit_ms=1)
_LEVEL_LAYOUT: Final = LevelLayout(price=0, amount=1)
_DEFAULT_ROWS: Final = 500
_MOST_TRADES: Final = 1000
_MOST_DEPTH: Final = 5000


class Binance:
    """One product of Binance."""

    def __init__(self, product: Product, markets: Sequence[Market], *, weight_per_minute: int | None) -> None:
        self.exchange = product.exchange
        self.host = product.host
        self._product = product
        self._markets = {market_name(market): market for market in markets if market.exchange == self.exchange}
        self._pages = Pages(partial(encode_bars, product), fills_empty=True)
        self._limiter = WeightPerMinute(weight_per_minute or product.weight_per_minute)

    def refuse(self, ask: Ask, now_s: float) -> Answer | None:
        """429 past the minute's weight, 418 once that is ignored, both with Retry-After."""
        if (refusal := self._limiter.admit(self._weight(ask), now_s)) is None:
            return None
        if refusal.banned:
            status, message = HTTPStatus.IM_A_TEAPOT, "Way too much request weight used; IP banned."
        else:
            status, message = HTTPStatus.TOO_MANY_REQUESTS, "Too much request weight used."
        headers = {"Retry-After": str(refusal.retry_after_s), **self._used()}
        return json_answer({"code": -1003, "msg": message}, status=status, headers=headers)

    def answer(self, ask: Ask) -> Reply:
        """Its answer to the request."""
        match ask.path.removeprefix(self._product.root):
            case "time":
                return json_answer({"serverTime": ask.now_ms}, headers=self._used())
            case "ping":
                return json_answer({}, headers=self._used())
            case "exchangeInfo":
                return json_answer(self._exchange_info(ask.now_ms), headers=self._used())
            case "klines":
                return self._klines(ask)
            case "aggTrades":
                return self._trades(ask)
            case "depth":
                return self._depth(ask)
            case _:
                return Answer(b"", HTTPStatus.NOT_FOUND)

    def market_asked(self, ask: Ask) -> Market | None:
        """The market named by `symbol`."""
        return self._markets.get(ask.query.get("symbol", ""))

    def _exchange_info(self, now_ms: int) -> Mapping[str, object]:
        limit = {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": self._limiter.limit,
        }
        return {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": [limit],
            "exchangeFilters": [],
            "symbols": [self._product.describe(name, market) for name, market in self._markets.items()],
        }

    def _klines(self, ask: Ask) -> Page:
        """Candles by open time, both bounds inclusive; without startTime the latest; the open one is among them.

        The limit is 500 unless given and is silently cut to the product's most. An interval without a
        trade has a candle of the previous close.
        """
        market, grid = self._series(ask)
        start_ms, last_ms, limit = (_whole_number(ask, name) for name in ("startTime", "endTime", "limit"))
        most = min(_DEFAULT_ROWS if limit is None else limit, self._product.most_rows)
        end_ms = (ask.now_ms if last_ms is None else last_ms) + 1
        if start_ms is None:
            rows = self._pages.last_rows(market, grid, end_ms, most=most, now_ms=ask.now_ms)
        else:
            rows = self._pages.rows(market, grid, start_ms, end_ms, most=most, now_ms=ask.now_ms)
        return Page(rows, _LAYOUT, headers=self._used())

    def _trades(self, ask: Ask) -> Page:
        """Trades from an id on, or the first of a window whose bounds are inclusive, or the latest.

        Every trade is an aggregate of its own. The limit is 500 unless given and is silently cut to 1,000.
        """
        market = self._market(ask)
        from_id, start_ms, last_ms, limit = (_whole_number(ask, n) for n in ("fromId", "startTime", "endTime", "limit"))
        if from_id is not None and (start_ms is not None or last_ms is not None):
            raise _error(-1128, "Combination of optional parameters invalid.")
        if start_ms is not None and last_ms is not None and last_ms - start_ms > self._product.longest_window_ms:
            raise _error(-1127, "More than 1 hours between startTime and endTime.")
        most = ask.at_most(min(_DEFAULT_ROWS if limit is None else limit, _MOST_TRADES))
        end_ns = (ask.now_ms if last_ms is None else min(last_ms + 1, ask.now_ms)) * NS_PER_MS
        history = market.history
        if from_id is not None:
            first = history.rank_of(from_id)
            trades = history.ranked(first, min(first + most, history.rank_at(end_ns)))
        elif start_ms is not None:
            trades = first_trades(history, start_ms * NS_PER_MS, end_ns, most=most)
        else:
            trades = last_trades(history, end_ns, most=most)
        return Page(encode_trades(self._product, market, trades), _TRADE_LAYOUT, headers=self._used())

    def _depth(self, ask: Ask) -> BookPage:
        """The order book; spot cuts the depth to 5,000, futures have a few depths only."""
        market, product = self._market(ask), self._product
        depth = _whole_number(ask, "limit") or product.default_depth
        if product.depths is not None and depth not in product.depths:
            raise _error(-4021, f"'{depth}' is not valid depth limit.")
        book = market.history.book(ask.now_ms, min(depth, _MOST_DEPTH))
        times = f'"E":{ask.now_ms},"T":{book.time_ms},' if product.tells_book_time else ""
        return BookPage(
            encode_levels(product, market, book.bid_price, book.bid_amount),
            encode_levels(product, market, book.ask_price, book.ask_amount),
            _LEVEL_LAYOUT,
            f'{{"lastUpdateId":{book.nonce},{times}"bids":[',
            '],"asks":[',
            "]}",
            headers=self._used(),
        )

    def _market(self, ask: Ask) -> Market:
        _demand(ask, "symbol")
        if (market := self.market_asked(ask)) is None:
            raise _error(-1121, "Invalid symbol.")
        return market

    def _series(self, ask: Ask) -> tuple[Market, Grid]:
        _demand(ask, "symbol")
        _demand(ask, "interval")
        market = self._market(ask)
        if (grid := GRIDS.get(ask.query["interval"])) is None:
            raise _error(-1120, "Invalid interval.")
        return market, grid

    def _weight(self, ask: Ask) -> int:
        product, limit = self._product, ask.query.get("limit", "")
        asked = int(limit) if limit.isdecimal() else None
        match ask.path.removeprefix(product.root):
            case "klines":
                return product.klines_weight(_DEFAULT_ROWS if asked is None else asked)
            case "exchangeInfo":
                return product.listing_weight
            case "aggTrades":
                return product.trades_weight
            case "depth":
                return product.depth_weight(asked or product.default_depth)
            case _:
                return 1

    def _used(self) -> dict[str, str]:
        return {"X-MBX-USED-WEIGHT-1M": str(self._limiter.used)}


def _demand(ask: Ask, name: str) -> None:
    if not ask.query.get(name):
        raise _error(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def _whole_number(ask: Ask, name: str) -> int | None:
    text = ask.query.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise _error(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def _error(code: int, message: str) -> Refused:
    return Refused(json_answer({"code": code, "msg": message}, status=HTTPStatus.BAD_REQUEST))
