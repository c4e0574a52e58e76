"""Bybit: spot, linear and inverse contracts at api.bybit.com; options are answered with none.

The rules are those of bybit-exchange.github.io/docs/v5 ("Get Kline", "Get Recent Public Trades", "Get
Orderbook", "Get Instruments Info", "Rate Limit Rules"), the shapes those of recorded responses. Rows come
newest first; errors come with status 200.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final
from uuid import UUID, uuid5

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
from tapehouse.sandbox.bars import DAY_MS, MINUTE_MS, Bars, Grid
from tapehouse.sandbox.limits import RollingWindow
from tapehouse.sandbox.market import Market, step
from tapehouse.sandbox.pages import Pages
from tapehouse.sandbox.tape import NS_PER_MS, Trades, last_trades
from tapehouse.timeframe import from_ms

_ROOT: Final = "/v5/market/"
_CATEGORIES: Final = ("spot", "linear", "inverse")
# What ccxt takes as an inverse contract's volume is the turnover, in base.
_LAYOUT: Final = Layout(time=0, open=1, high=2, low=3, close=4, volume=5, time_unit_ms=1)
_INVERSE_LAYOUT: Final = Layout(time=0, open=1, high=2, low=3, close=4, volume=6, time_unit_ms=1)
_TRADE_LAYOUT: Final = TradeLayout(time="time", id="execId", side="side", price="price", amount="size", time_unit_ms=1)
_LEVEL_LAYOUT: Final = LevelLayout(price=0, amount=1)
_GRIDS: Final = {
    **{str(minutes): Grid(minutes * MINUTE_MS) for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": Grid(DAY_MS),
    # Weeks open on Monday; 1970 began on a Thursday.
    "W": Grid(7 * DAY_MS, origin_ms=4 * DAY_MS),
}
_DEFAULT_BARS: Final = 200
_MOST_BARS: Final = 1000
_DEFAULT_TRADES: Final = {"spot": 60, "linear": 500, "inverse": 500}
_MOST_TRADES: Final = {"spot": 60, "linear": 1000, "inverse": 1000}
_DEFAULT_LEVELS: Final = {"spot": 1, "linear": 25, "inverse": 25}
_MOST_LEVELS: Final = {"spot": 200, "linear": 500, "inverse": 500}
_TURNOVER_DECIMALS: Final = 8
_REQUESTS_PER_WINDOW: Final = 600
_WINDOW_S: Final = 5.0
_BAN_S: Final = 600.0
# Spot ids are long numbers, those of contracts UUIDs of version 5.
_FIRST_SPOT_ID: Final = 2_290_000_000_000_000_000
_TRADE_NAMES: Final = UUID("5f3c4f0e-7d2b-4c86-9d52-0f6b7a1e4c11")
# The letter of the month in which a quarter ends: https://bybit-exchange.github.io/docs/v5/enum#symbol
_QUARTERS: Final = {3: "H", 6: "M", 9: "U", 12: "Z"}


class Bybit:
    """Bybit's public market data."""

    def __init__(self, markets: Sequence[Market], *, requests_per_window: int | None) -> None:
        self.exchange = "bybit"
        self.host = "api.bybit.com"
        self._markets = {
            (_category(market), _symbol(market)): market for market in markets if market.exchange == self.exchange
        }
        self._pages = Pages(_encode_bars, fills_empty=True)
        self._limiter = RollingWindow(requests_per_window or _REQUESTS_PER_WINDOW, window_s=_WINDOW_S, ban_s=_BAN_S)

    def refuse(self, ask: Ask, now_s: float) -> Answer | None:  # noqa: ARG002 -- every request counts the same
        """403 for ten minutes once there were more than 600 requests in any five seconds."""
        if self._limiter.admit(now_s) is None:
            return None
        return Answer(b"access too frequent", HTTPStatus.FORBIDDEN, "text/plain; charset=utf-8")

    def answer(self, ask: Ask) -> Reply:
        """Its answer to the request."""
        match ask.path.removeprefix(_ROOT):
            case "time":
                time = {"timeSecond": str(ask.now_ms // 1000), "timeNano": str(ask.now_ms * NS_PER_MS)}
                return _result(ask, time)
            case "instruments-info":
                return self._instruments(ask)
            case "kline":
                return self._candles(ask)
            case "recent-trade":
                return self._trades(ask)
            case "orderbook":
                return self._book(ask)
            case _:
                return Answer(b"", HTTPStatus.NOT_FOUND)

    def market_asked(self, ask: Ask) -> Market | None:
        """The market named by `category`, which is linear unless given, and `symbol`."""
        return self._markets.get((ask.query.get("category", "linear"), ask.query.get("symbol", "")))

    def _instruments(self, ask: Ask) -> Answer:
        """Those that trade, unless another `status` is asked for; a contract that has gone is Closed."""
        category = ask.query.get("category", "")
        if category not in (*_CATEGORIES, "option"):
            raise _error(ask, "params error: Category is invalid")
        status, wanted = ask.query.get("status", "Trading"), ask.query.get("symbol")
        described = [
            _describe_spot(name, market) if category == "spot" else _describe_contract(name, market, ask.now_ms)
            for (listed_in, name), market in self._markets.items()
            if listed_in == category and wanted in (None, name)
        ]
        rows = [row for row in described if row["status"] == status]
        return _result(ask, {"category": category, "list": rows, "nextPageCursor": ""})

    def _candles(self, ask: Ask) -> Page:
        """Candles that open from that of `start` to `end`, both included; the open one is among them.

        Where they are too many the latest come, but with a `start` alone the first. The limit is 200 unless
        given and is silently cut to 1000. An interval without a trade has a candle of the previous close.
        """
        market, grid = self._market(ask), _GRIDS.get(ask.query.get("interval", ""))
        if grid is None:
            raise _error(ask, "Invalid period!")
        most = _limit(ask, _DEFAULT_BARS, _MOST_BARS)
        start_ms, last_ms = _whole_number(ask, "start"), _whole_number(ask, "end")
        start_ms = None if start_ms is None else grid.floor(start_ms)
        end_ms = ask.now_ms + 1 if last_ms is None else last_ms + 1
        if start_ms is not None and last_ms is None:
            rows = self._pages.rows(market, grid, start_ms, end_ms, most=most, now_ms=ask.now_ms)
        else:
            first_ms = max(start_ms or 0, grid.ceil(end_ms) - most * grid.length_ms)
            rows = self._pages.rows(market, grid, first_ms, end_ms, most=most, now_ms=ask.now_ms)
        head = _head(f'"category":"{_category(market)}","symbol":"{_symbol(market)}","list":[')
        return Page(rows[::-1], _INVERSE_LAYOUT if market.inverse else _LAYOUT, head, f"]{_tail(ask)}")

    def _trades(self, ask: Ask) -> Page:
        """The latest trades; there is no way to ask for others."""
        market = self._market(ask)
        category = _category(market)
        most = ask.at_most(_limit(ask, _DEFAULT_TRADES[category], _MOST_TRADES[category]))
        rows = _encode_trades(market, last_trades(market.history, ask.now_ms * NS_PER_MS, most=most))
        return Page(rows[::-1], _TRADE_LAYOUT, _head(f'"category":"{category}","list":['), f"]{_tail(ask)}")

    def _book(self, ask: Ask) -> BookPage:
        """The best `limit` levels a side, one or 25 unless given; silently cut to 200 or 500 (spot, contract)."""
        market = self._market(ask)
        category = _category(market)
        book = market.history.book(ask.now_ms, _limit(ask, _DEFAULT_LEVELS[category], _MOST_LEVELS[category]))
        state = f'"ts":{ask.now_ms},"u":{book.nonce},"seq":{book.nonce},"cts":{book.time_ms}'
        return BookPage(
            _encode_levels(market, book.bid_price, book.bid_amount),
            _encode_levels(market, book.ask_price, book.ask_amount),
            _LEVEL_LAYOUT,
            _head(f'"s":"{_symbol(market)}","b":['),
            '],"a":[',
            f"],{state}{_tail(ask)}",
        )

    def _market(self, ask: Ask) -> Market:
        if ask.query.get("category", "linear") not in _CATEGORIES:
            raise _error(ask, "params error: Category is invalid")
        if (market := self.market_asked(ask)) is None:
            raise _error(ask, "Not supported symbols")
        return market


def _encode_bars(market: Market, grid: Grid, bars: Bars) -> list[str]:  # noqa: ARG001 -- no row names its length
    history = market.history
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    turnover = bars.turnover * (tick / lot) if market.inverse else bars.turnover / (tick * lot)
    prices = (prices / tick for prices in (bars.open, bars.high, bars.low, bars.close))
    columns = (bars.open_ms, *prices, bars.volume / lot, turnover)
    price, amount = f'"%.{history.price_decimals}f"', f'"%.{history.amount_decimals}f"'
    template = f'["%d",{price},{price},{price},{price},{amount},"%.{_TURNOVER_DECIMALS}f"]'
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _encode_trades(market: Market, trades: Trades) -> list[str]:
    history = market.history
    symbol = _symbol(market)
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    template = (
        f'{{"execId":"%s","symbol":"{symbol}","price":"%.{history.price_decimals}f",'
        f'"size":"%.{history.amount_decimals}f","side":"%s","time":"%d","isBlockTrade":false}}'
    )
    if market.settle is None:
        ids = [str(_FIRST_SPOT_ID + trade_id) for trade_id in trades.trade_id.tolist()]
    else:
        ids = [str(uuid5(_TRADE_NAMES, f"{symbol}/{trade_id}")) for trade_id in trades.ids()]
    columns = (
        ids,
        (trades.price / tick).tolist(),
        (trades.amount / lot).tolist(),
        ["Buy" if bought else "Sell" for bought in trades.buyer_took.tolist()],
        trades.time_ms.tolist(),
    )
    return [template % row for row in zip(*columns, strict=True)]


def _encode_levels(market: Market, prices: Int64Array, amounts: Int64Array) -> list[str]:
    history = market.history
    template = f'["%.{history.price_decimals}f","%.{history.amount_decimals}f"]'
    columns = (prices / 10.0**history.price_decimals, amounts / 10.0**history.amount_decimals)
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _describe_spot(name: str, market: Market) -> Mapping[str, object]:
    return {
        "symbol": name,
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "innovation": "0",
        "status": "Trading" if market.active else "Closed",
        "marginTrading": "none",
        "lotSizeFilter": {
            "basePrecision": step(market.amount_decimals),
            "quotePrecision": "0.00000001",
            "minOrderQty": step(market.amount_decimals),
            "maxOrderQty": "1000000",
            "minOrderAmt": "1",
            "maxOrderAmt": "2000000",
        },
        "priceFilter": {"tickSize": step(market.price_decimals)},
    }


def _describe_contract(name: str, market: Market, now_ms: int) -> Mapping[str, object]:
    """A perpetual's delivery time is that of its delisting, 0 as long as none is set."""
    lot, tick = step(market.amount_decimals), step(market.price_decimals)
    term = "Perpetual" if market.expires_ms is None else "Futures"
    return {
        "symbol": name,
        "contractType": f"{'Inverse' if market.inverse else 'Linear'}{term}",
        "status": "Trading" if market.active and market.is_listed(now_ms) else "Closed",
        "baseCoin": market.base,
        "quoteCoin": market.quote,
        "launchTime": str(market.history.first_ms),
        "deliveryTime": str(market.expires_ms or market.history.end_ms or 0),
        "deliveryFeeRate": "",
        "priceScale": str(market.price_decimals),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick, "maxPrice": "1999999", "tickSize": tick},
        "lotSizeFilter": {"maxOrderQty": "1000000", "minOrderQty": lot, "qtyStep": lot},
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": market.settle,
    }


def _category(market: Market) -> str:
    if market.settle is None:
        return "spot"
    return "inverse" if market.inverse else "linear"


def _symbol(market: Market) -> str:
    pair = market.base + market.quote
    if market.expires_ms is None:
        return pair
    expires_at = from_ms(market.expires_ms)
    return f"{pair}{_QUARTERS[expires_at.month]}{expires_at:%y}"


def _limit(ask: Ask, default: int, most: int) -> int:
    limit = _whole_number(ask, "limit")
    if limit == 0:
        raise _error(ask, "params error: limit invalid")
    return min(default if limit is None else limit, most)


def _whole_number(ask: Ask, name: str) -> int | None:
    text = ask.query.get(name)
    if text is not None and not text.isdecimal():
        raise _error(ask, f"params error: {name} invalid")
    return None if text is None else int(text)


def _result(ask: Ask, result: Mapping[str, object]) -> Answer:
    return json_answer({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": ask.now_ms})


def _head(opening: str) -> str:
    """The envelope down to where the rows begin."""
    return f'{{"retCode":0,"retMsg":"OK","result":{{{opening}'


def _tail(ask: Ask) -> str:
    """The rest of the envelope, from the end of the result."""
    return f'}},"retExtInfo":{{}},"time":{ask.now_ms}}}'


def _error(ask: Ask, message: str) -> Refused:
    return Refused(
        json_answer({"retCode": 10001, "retMsg": message, "result": {}, "retExtInfo": {}, "time": ask.now_ms})
    )
