"""Coinbase Exchange: spot markets at api.exchange.coinbase.com.

The rules are those of docs.cdp.coinbase.com/exchange ("Get product candles", "Get product trades", "Get
product book", "Pagination", "Rate limits"), the shapes those of recorded responses. Rows come newest first;
intervals without a trade are left out.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
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
from tapehouse.sandbox.bars import Bars, Grid
from tapehouse.sandbox.limits import DecayingCounter
from tapehouse.sandbox.market import Market, step
from tapehouse.sandbox.pages import Pages
from tapehouse.sandbox.tape import NS_PER_MS, Trades

_LAYOUT: Final = Layout(time=0, low=1, high=2, open=3, close=4, volume=5, time_unit_ms=1000)
_TRADE_LAYOUT: Final = TradeLayout(
    time="time", id="trade_id", side="side", price="price", amount="size", time_unit_ms=None
)
_LEVEL_LAYOUT: Final = LevelLayout(price=0, amount=1)
_GRANULARITIES_S: Final = (60, 300, 900, 3600, 21_600, 86_400)
_MOST_ROWS: Final = 300
_DEFAULT_TRADES: Final = 100
_MOST_TRADES: Final = 1000
# Levels a side, by the level of detail that is asked for.
_DEPTHS: Final = {"1": 1, "2": 500}
_REQUESTS_AT_ONCE: Final = 15
_REQUESTS_PER_S: Final = 10


class Coinbase:
    """Coinbase Exchange's public market data."""

    def __init__(self, markets: Sequence[Market], *, requests_at_once: int | None) -> None:
        self.exchange = "coinbaseexchange"
        self.host = "api.exchange.coinbase.com"
        self._markets = {_product_id(market): market for market in markets if market.exchange == self.exchange}
        self._pages = Pages(_encode, fills_empty=False)
        self._limiter = DecayingCounter(requests_at_once or _REQUESTS_AT_ONCE, per_s=_REQUESTS_PER_S)

    def refuse(self, ask: Ask, now_s: float) -> Answer | None:  # noqa: ARG002 -- every request counts the same
        """429 without Retry-After."""
        if self._limiter.admit(now_s) is None:
            return None
        return _error("Public rate limit exceeded", status=HTTPStatus.TOO_MANY_REQUESTS).answer

    def answer(self, ask: Ask) -> Reply:
        """Its answer to the request."""
        match ask.path.strip("/").split("/"):
            case ["time"]:
                now = datetime.fromtimestamp(ask.now_ms / 1000, UTC)
                return json_answer({"iso": f"{now:%Y-%m-%dT%H:%M:%S}Z", "epoch": ask.now_ms / 1000})
            case ["currencies"]:
                return json_answer(self._currencies())
            case ["products"]:
                return json_answer([_describe(name, market) for name, market in self._markets.items()])
            case ["products", _, "candles"]:
                return self._candles(ask)
            case ["products", _, "trades"]:
                return self._trades(ask)
            case ["products", _, "book"]:
                return self._book(ask)
            case _:
                raise _error("NotFound", status=HTTPStatus.NOT_FOUND)

    def market_asked(self, ask: Ask) -> Market | None:
        """The market named in the path."""
        match ask.path.strip("/").split("/"):
            case ["products", product, *_]:
                return self._markets.get(product)
            case _:
                return None

    def _candles(self, ask: Ask) -> Page:
        """Candles of [start, end], newest first; a range of more than 300 is refused; without one the latest 300."""
        market = self._market(ask)
        granularity = ask.query.get("granularity", "60")
        if not granularity.isdecimal() or int(granularity) not in _GRANULARITIES_S:
            raise _error("Unsupported granularity")
        grid = Grid(int(granularity) * 1000)
        end_ms = _time_ms(ask, "end", default_ms=ask.now_ms)
        start_ms = _time_ms(ask, "start", default_ms=grid.floor(end_ms) - (_MOST_ROWS - 1) * grid.length_ms)
        if (end_ms - start_ms) // grid.length_ms > _MOST_ROWS:
            raise _error(
                "granularity too small for the requested time range. "
                f"Count of aggregations requested exceeds {_MOST_ROWS}"
            )
        rows = self._pages.rows(market, grid, start_ms, end_ms + 1, most=_MOST_ROWS + 1, now_ms=ask.now_ms)
        return Page(rows[::-1], _LAYOUT)

    def _trades(self, ask: Ask) -> Page:
        """The newest trades, of those older than `after` and newer than `before`; the headers tell the page's ends.

        The limit is 100 unless given and is silently cut to 1,000. `side` is the maker's.
        """
        market = self._market(ask)
        history = market.history
        most = ask.at_most(min(_whole_number(ask, "limit", default=_DEFAULT_TRADES), _MOST_TRADES))
        stop = history.rank_at(ask.now_ms * NS_PER_MS)
        if "after" in ask.query:
            stop = min(stop, history.rank_of(_whole_number(ask, "after", default=0)))
        first = stop - most
        if "before" in ask.query:
            first = max(first, history.rank_of(_whole_number(ask, "before", default=0) + 1))
        trades = history.ranked(first, stop)
        ends = {"CB-BEFORE": str(trades.trade_id[-1]), "CB-AFTER": str(trades.trade_id[0])} if len(trades) else {}
        return Page(_encode_trades(market, trades)[::-1], _TRADE_LAYOUT, headers=ends)

    def _book(self, ask: Ask) -> BookPage:
        """The order book: level 1 is the best bid and ask, level 2 all prices; the third value counts orders."""
        market = self._market(ask)
        if (depth := _DEPTHS.get(ask.query.get("level", "1"))) is None:
            raise _error("Invalid level")
        book = market.history.book(ask.now_ms, depth)
        time = datetime.fromtimestamp(book.time_ms / 1000, UTC)
        return BookPage(
            _encode_levels(market, book.bid_price, book.bid_amount),
            _encode_levels(market, book.ask_price, book.ask_amount),
            _LEVEL_LAYOUT,
            '{"bids":[',
            '],"asks":[',
            f'],"sequence":{book.nonce},"auction_mode":false,"auction":null,"time":"{time:%Y-%m-%dT%H:%M:%S.%fZ}"}}',
        )

    def _market(self, ask: Ask) -> Market:
        if (market := self.market_asked(ask)) is None:
            raise _error("NotFound", status=HTTPStatus.NOT_FOUND)
        return market

    def _currencies(self) -> list[Mapping[str, object]]:
        names = {asset for market in self._markets.values() for asset in (market.base, market.quote)}
        return [{"id": name, "name": name, "status": "online", "max_precision": "0.00000001"} for name in sorted(names)]


def _encode(market: Market, grid: Grid, bars: Bars) -> list[str]:  # noqa: ARG001 -- no row names its length
    history = market.history
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    columns = (
        bars.open_ms // 1000,
        *(prices / tick for prices in (bars.low, bars.high, bars.open, bars.close)),
        bars.volume / lot,
    )
    price, amount = f"%.{history.price_decimals}f", f"%.{history.amount_decimals}f"
    template = f"[%d,{price},{price},{price},{price},{amount}]"
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _encode_trades(market: Market, trades: Trades) -> list[str]:
    history = market.history
    columns = (
        np.datetime_as_string((trades.time_ns // 1000).astype("datetime64[us]")).tolist(),
        trades.json_ids(),
        (trades.price / 10.0**history.price_decimals).tolist(),
        (trades.amount / 10.0**history.amount_decimals).tolist(),
        ["sell" if bought else "buy" for bought in trades.buyer_took.tolist()],
    )
    price, size = f"%.{history.price_decimals}f", f"%.{history.amount_decimals}f"
    template = f'{{"time":"%sZ","trade_id":%s,"price":"{price}","size":"{size}","side":"%s"}}'
    return [template % row for row in zip(*columns, strict=True)]


def _encode_levels(market: Market, prices: Int64Array, amounts: Int64Array) -> list[str]:
    history = market.history
    template = f'["%.{history.price_decimals}f","%.{history.amount_decimals}f",1]'
    columns = (prices / 10.0**history.price_decimals, amounts / 10.0**history.amount_decimals)
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _describe(name: str, market: Market) -> Mapping[str, object]:
    return {
        "id": name,
        "base_currency": market.base,
        "quote_currency": market.quote,
        "quote_increment": step(market.price_decimals),
        "base_increment": step(market.amount_decimals),
        "display_name": f"{market.base}/{market.quote}",
        "min_market_funds": "1",
        "margin_enabled": False,
        "trading_disabled": not market.active,
        "status": "online" if market.active else "delisted",
    }


def _product_id(market: Market) -> str:
    return f"{market.base}-{market.quote}"


def _time_ms(ask: Ask, name: str, *, default_ms: int) -> int:
    """A time of the query, in seconds since 1970 or ISO 8601."""
    text = ask.query.get(name)
    if text is None:
        return default_ms
    if text.isdecimal():
        return int(text) * 1000
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise _error(f"{name} is no valid time") from error
    return int(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000)


def _whole_number(ask: Ask, name: str, *, default: int) -> int:
    text = ask.query.get(name, str(default))
    if not text.isdecimal():
        raise _error(f"{name} is no valid number")
    return int(text)


def _error(message: str, *, status: int = HTTPStatus.BAD_REQUEST) -> Refused:
    return Refused(json_answer({"message": message}, status=status))
