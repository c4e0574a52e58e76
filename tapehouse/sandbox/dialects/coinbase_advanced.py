"""Coinbase Advanced Trade: spot markets at api.coinbase.com; ccxt calls it `coinbase`.

The rules are those of docs.cdp.coinbase.com ("Get Public Product Candles", "Get Public Market Trades", "Get
Public Product Book") and of answers others have published, the shapes those of recorded responses. Rows
come newest first; intervals without a trade are left out.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import numpy as np

from tapehouse.candle import Int64Array
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
from tapehouse.sandbox.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bars, Grid
from tapehouse.sandbox.limits import RollingWindow
from tapehouse.sandbox.market import Market, step
from tapehouse.sandbox.pages import Pages
from tapehouse.sandbox.tape import NS_PER_MS, Trades, last_trades
from tapehouse.timeframe import from_ms

_LAYOUT: Final = Layout(
    time="start", low="low", high="high", open="open", close="close", volume="volume", time_unit_ms=1000
)
_TRADE_LAYOUT: Final = TradeLayout(
    time="time", id="trade_id", side="side", price="price", amount="size", time_unit_ms=None
)
_LEVEL_LAYOUT: Final = LevelLayout(price="price", amount="size")
_GRIDS: Final = {
    "ONE_MINUTE": Grid(MINUTE_MS),
    "FIVE_MINUTE": Grid(5 * MINUTE_MS),
    "FIFTEEN_MINUTE": Grid(15 * MINUTE_MS),
    "THIRTY_MINUTE": Grid(30 * MINUTE_MS),
    "ONE_HOUR": Grid(HOUR_MS),
    "TWO_HOUR": Grid(2 * HOUR_MS),
    "FOUR_HOUR": Grid(4 * HOUR_MS),
    "SIX_HOUR": Grid(6 * HOUR_MS),
    "ONE_DAY": Grid(DAY_MS),
}
_MOST_BARS: Final = 350
_MOST_TRADES: Final = 100
_MOST_TRADES_ASKED: Final = 1000
_MOST_LEVELS: Final = 1000
_REQUESTS_PER_S: Final = 10
_FIAT: Final = {"USD": "US Dollar", "EUR": "Euro"}


class CoinbaseAdvanced:
    """The public market data of Coinbase Advanced Trade."""

    def __init__(self, markets: Sequence[Market], *, requests_per_window: int | None) -> None:
        self.exchange = "coinbase"
        self.host = "api.coinbase.com"
        self._markets = {_product_id(market): market for market in markets if market.exchange == self.exchange}
        self._pages = Pages(_encode_bars, fills_empty=False)
        self._limiter = RollingWindow(requests_per_window or _REQUESTS_PER_S, window_s=1.0)

    def refuse(self, ask: Ask, now_s: float) -> Answer | None:  # noqa: ARG002 -- every request counts the same
        """429 without Retry-After past ten requests in any second."""
        if self._limiter.admit(now_s) is None:
            return None
        errors = [{"id": "rate_limit_exceeded", "message": "Rate limit exceeded"}]
        return json_answer({"errors": errors}, status=HTTPStatus.TOO_MANY_REQUESTS)

    def answer(self, ask: Ask) -> Reply:
        """Its answer to the request."""
        match ask.path.strip("/").split("/"):
            case ["v2", "time"]:
                return json_answer({"data": {"iso": _second(ask.now_ms), "epoch": ask.now_ms // 1000}})
            case ["v2", "currencies"]:
                return json_answer({"data": self._fiat()})
            case ["v2", "currencies", "crypto"]:
                return json_answer({"data": self._crypto()})
            case ["v2", "exchange-rates"]:
                return json_answer({"data": {"currency": "USD", "rates": {"USD": "1"}}})
            case ["api", "v3", "brokerage", "time"]:
                return json_answer(_time(ask.now_ms))
            case ["api", "v3", "brokerage", "market", *rest]:
                return self._market_answer(ask, rest)
            case _:
                raise _error("NOT_FOUND", "Not Found", status=HTTPStatus.NOT_FOUND)

    def market_asked(self, ask: Ask) -> Market | None:
        """The market named in the path or by `product_id`."""
        match ask.path.strip("/").split("/"):
            case ["api", "v3", "brokerage", "market", "products", product, *_]:
                return self._markets.get(product)
            case _:
                return self._markets.get(ask.query.get("product_id", ""))

    def _market_answer(self, ask: Ask, rest: list[str]) -> Reply:
        match rest:
            case ["products"]:
                return self._products(ask)
            case ["products", product]:
                return self._product(product)
            case ["products", _, "candles"]:
                return self._candles(ask)
            case ["products", _, "ticker"]:
                return self._trades(ask)
            case ["product_book"]:
                return self._book(ask)
            case _:
                raise _error("NOT_FOUND", "Not Found", status=HTTPStatus.NOT_FOUND)

    def _products(self, ask: Ask) -> Answer:
        spot = ask.query.get("product_type", "SPOT") == "SPOT"
        products = [_describe(name, market) for name, market in self._markets.items() if spot]
        return json_answer({"products": products, "num_products": len(products), "pagination": None})

    def _product(self, product: str) -> Answer:
        if (market := self._markets.get(product)) is None:
            raise _error("NOT_FOUND", f"Product {product} not supported", status=HTTPStatus.NOT_FOUND)
        return json_answer(_describe(product, market))

    def _candles(self, ask: Ask) -> Page:
        """Candles of [start, end], newest first; a range of more than 350 is refused; without one the latest 350."""
        market = self._market(ask)
        if (grid := _GRIDS.get(ask.query.get("granularity", ""))) is None:
            raise _invalid("granularity argument is invalid")
        end_ms = _time_ms(ask, "end", default_ms=ask.now_ms)
        start_ms = _time_ms(ask, "start", default_ms=grid.floor(end_ms) - (_MOST_BARS - 1) * grid.length_ms)
        if (grid.floor(end_ms) - grid.ceil(start_ms)) // grid.length_ms >= _MOST_BARS:
            raise _invalid(
                f"start and end argument is invalid - number of candles requested should be less than {_MOST_BARS}"
            )
        rows = self._pages.rows(market, grid, start_ms, end_ms + 1, most=_MOST_BARS, now_ms=ask.now_ms)
        return Page(rows[::-1], _LAYOUT, '{"candles":[', "]}")

    def _trades(self, ask: Ask) -> Page:
        """The latest trades of [start, end], both in whole seconds, or of all time; never more than a hundred."""
        market = self._market(ask)
        limit = _whole_number(ask, "limit", default=_MOST_TRADES)
        if not 0 < limit <= _MOST_TRADES_ASKED:
            raise _error("INTERNAL", "Internal error", status=HTTPStatus.INTERNAL_SERVER_ERROR)
        history = market.history
        end_ms = min(_time_ms(ask, "end", default_ms=ask.now_ms) + 1, ask.now_ms)
        start_ms = _time_ms(ask, "start", default_ms=0)
        most = ask.at_most(min(limit, _MOST_TRADES))
        trades = last_trades(history, end_ms * NS_PER_MS, most=most, start_ns=start_ms * NS_PER_MS)
        book = history.book(ask.now_ms, 1)
        bid, ask_price = (_best(market, prices.tolist()) for prices in (book.bid_price, book.ask_price))
        tail = f'],"best_bid":"{bid}","best_ask":"{ask_price}"}}'
        return Page(_encode_trades(market, trades)[::-1], _TRADE_LAYOUT, '{"trades":[', tail)

    def _book(self, ask: Ask) -> BookPage:
        """The best `limit` levels a side, all unless given; never more than a thousand."""
        market = self._market(ask)
        if not market.active:
            raise _error("NOT_FOUND", "no pricebook found", status=HTTPStatus.NOT_FOUND)
        limit = min(_whole_number(ask, "limit", default=_MOST_LEVELS), _MOST_LEVELS)
        book = market.history.book(ask.now_ms, limit)
        return BookPage(
            _encode_levels(market, book.bid_price, book.bid_amount),
            _encode_levels(market, book.ask_price, book.ask_amount),
            _LEVEL_LAYOUT,
            f'{{"pricebook":{{"product_id":"{_product_id(market)}","bids":[',
            '],"asks":[',
            f'],"time":"{from_ms(book.time_ms):%Y-%m-%dT%H:%M:%S.%fZ}"}}}}',
        )

    def _market(self, ask: Ask) -> Market:
        if (market := self.market_asked(ask)) is None:
            raise _error("NOT_FOUND", "valid product_id is required", status=HTTPStatus.NOT_FOUND)
        return market

    def _fiat(self) -> list[Mapping[str, object]]:
        names = {market.quote for market in self._markets.values()} & _FIAT.keys()
        return [{"id": name, "name": _FIAT[name], "min_size": "0.01"} for name in sorted(names)]

    def _crypto(self) -> list[Mapping[str, object]]:
        names = {asset for market in self._markets.values() for asset in (market.base, market.quote)} - _FIAT.keys()
        return [{"asset_id": name, "code": name, "name": name, "exponent": 8} for name in sorted(names)]


def _encode_bars(market: Market, grid: Grid, bars: Bars) -> list[str]:  # noqa: ARG001 -- no row names its length
    history = market.history
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    prices = (prices / tick for prices in (bars.low, bars.high, bars.open, bars.close))
    columns = (bars.open_ms // 1000, *prices, bars.volume / lot)
    price = f'"%.{history.price_decimals}f"'
    template = (
        f'{{"start":"%d","low":{price},"high":{price},"open":{price},"close":{price},'
        f'"volume":"%.{history.amount_decimals}f"}}'
    )
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _encode_trades(market: Market, trades: Trades) -> list[str]:
    """The side is the maker's: in a recorded answer trades at the best ask are SELL."""
    history = market.history
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    template = (
        f'{{"trade_id":"%s","product_id":"{_product_id(market)}","price":"%.{history.price_decimals}f",'
        f'"size":"%.{history.amount_decimals}f","time":"%sZ","side":"%s","bid":"","ask":"","exchange":"coinbase"}}'
    )
    columns = (
        trades.ids(),
        (trades.price / tick).tolist(),
        (trades.amount / lot).tolist(),
        np.datetime_as_string((trades.time_ns // 1000).astype("datetime64[us]")).tolist(),
        ["SELL" if bought else "BUY" for bought in trades.buyer_took.tolist()],
    )
    return [template % row for row in zip(*columns, strict=True)]


def _encode_levels(market: Market, prices: Int64Array, amounts: Int64Array) -> list[str]:
    history = market.history
    template = f'{{"price":"%.{history.price_decimals}f","size":"%.{history.amount_decimals}f"}}'
    columns = (prices / 10.0**history.price_decimals, amounts / 10.0**history.amount_decimals)
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _describe(name: str, market: Market) -> Mapping[str, object]:
    tick, lot = step(market.price_decimals), step(market.amount_decimals)
    return {
        "product_id": name,
        "base_increment": lot,
        "quote_increment": tick,
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_min_size": lot,
        "base_max_size": "3400",
        "base_name": market.base,
        "quote_name": _FIAT.get(market.quote, market.quote),
        "is_disabled": not market.active,
        "new": False,
        "status": "online" if market.active else "delisted",
        "cancel_only": False,
        "limit_only": False,
        "post_only": False,
        "trading_disabled": not market.active,
        "auction_mode": False,
        "product_type": "SPOT",
        "quote_currency_id": market.quote,
        "base_currency_id": market.base,
        "fcm_trading_session_details": None,
        "alias": "",
        "alias_to": [],
        "base_display_symbol": market.base,
        "quote_display_symbol": market.quote,
        "view_only": False,
        "price_increment": tick,
        "display_name": name,
        "product_venue": "CBE",
    }


def _product_id(market: Market) -> str:
    return f"{market.base}-{market.quote}"


def _best(market: Market, prices: list[int]) -> str:
    """The first price as text, nothing where there is none."""
    decimals = market.history.price_decimals
    return f"{prices[0] / 10.0**decimals:.{decimals}f}" if prices else ""


def _time(now_ms: int) -> Mapping[str, object]:
    return {"iso": _second(now_ms), "epochSeconds": str(now_ms // 1000), "epochMillis": str(now_ms)}


def _second(ms: int) -> str:
    return f"{from_ms(ms):%Y-%m-%dT%H:%M:%S}Z"


def _time_ms(ask: Ask, name: str, *, default_ms: int) -> int:
    """A time of the query, which is in whole seconds since 1970."""
    return _whole_number(ask, name, default=-1) * 1000 if name in ask.query else default_ms


def _whole_number(ask: Ask, name: str, *, default: int) -> int:
    text = ask.query.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise _invalid(f"{name} argument is invalid")
    return int(text)


def _invalid(message: str) -> Refused:
    return _error("INVALID_ARGUMENT", message, status=HTTPStatus.BAD_REQUEST)


def _error(code: str, message: str, *, status: int) -> Refused:
    return Refused(json_answer({"error": code, "error_details": message, "message": message}, status=status))
