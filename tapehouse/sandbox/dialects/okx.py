"""OKX: spot, swaps and dated futures at www.okx.com; options are answered with none.

The rules are those of www.okx.com/docs-v5 ("Get candlesticks", "Get trades", "Get order book", "Get
instruments" and their rate limits), the shapes those of recorded responses. Rows come newest first.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

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
from tapehouse.sandbox.tape import NS_PER_MS, Trades

_ROOT: Final = "/api/v5/"
# What ccxt takes as a contract's volume is its seventh column, in base.
_SPOT_LAYOUT: Final = Layout(time=0, open=1, high=2, low=3, close=4, volume=5, time_unit_ms=1)
_CONTRACT_LAYOUT: Final = Layout(time=0, open=1, high=2, low=3, close=4, volume=6, time_unit_ms=1)
_TRADE_LAYOUT: Final = TradeLayout(time="ts", id="tradeId", side="side", price="px", amount="sz", time_unit_ms=1)
_LEVEL_LAYOUT: Final = LevelLayout(price=0, amount=1)
_MONDAY_MS: Final = 4 * DAY_MS
_HONG_KONG_MS: Final = -8 * HOUR_MS
_LONG_BARS_MS: Final = {"6H": 6 * HOUR_MS, "12H": 12 * HOUR_MS, "1D": DAY_MS, "2D": 2 * DAY_MS, "3D": 3 * DAY_MS}
_GRIDS: Final = {
    **{f"{minutes}m": Grid(minutes * MINUTE_MS) for minutes in (1, 3, 5, 15, 30)},
    **{f"{hours}H": Grid(hours * HOUR_MS) for hours in (1, 2, 4)},
    **{f"{name}utc": Grid(length_ms) for name, length_ms in _LONG_BARS_MS.items()},
    "1Wutc": Grid(7 * DAY_MS, _MONDAY_MS),
    **{name: Grid(length_ms, _HONG_KONG_MS) for name, length_ms in _LONG_BARS_MS.items()},
    "1W": Grid(7 * DAY_MS, _MONDAY_MS + _HONG_KONG_MS),
}
_DEFAULT_ROWS: Final = 100
_MOST_BARS: Final = 300
# "The data up to 1,440 data entries": what is older is served as history alone.
_RECENT_BARS: Final = 1440
_MOST_TRADES: Final = 500
_MOST_OLD_TRADES: Final = 100
_MOST_LEVELS: Final = 400
_MOST_FULL_LEVELS: Final = 5000
_TURNOVER_DECIMALS: Final = 8
_HEAD: Final = '{"code":"0","msg":"","data":['
_TAIL: Final = "]}"
_WINDOW_S: Final = 2.0
_REQUESTS_PER_WINDOW: Final = {
    "market/candles": 40,
    "market/history-candles": 20,
    "market/trades": 100,
    "market/history-trades": 20,
    "market/books": 40,
    "market/books-full": 10,
    "public/instruments": 20,
    "public/time": 10,
}


class Okx:
    """OKX's public market data."""

    def __init__(self, markets: Sequence[Market], *, requests_per_window: int | None) -> None:
        self.exchange = "okx"
        self.host = "www.okx.com"
        self._markets = {_instrument_id(market): market for market in markets if market.exchange == self.exchange}
        self._pages = Pages(_encode_bars, fills_empty=True)
        self._limiters = {
            path: RollingWindow(requests_per_window or limit, window_s=_WINDOW_S)
            for path, limit in _REQUESTS_PER_WINDOW.items()
        }

    def refuse(self, ask: Ask, now_s: float) -> Answer | None:
        """429 without Retry-After; each endpoint has a limit of its own, for any two seconds."""
        limiter = self._limiters.get(ask.path.removeprefix(_ROOT))
        if limiter is None or limiter.admit(now_s) is None:
            return None
        return _error("50011", "Too Many Requests", status=HTTPStatus.TOO_MANY_REQUESTS).answer

    def answer(self, ask: Ask) -> Reply:
        """Its answer to the request."""
        match ask.path.removeprefix(_ROOT):
            case "public/time":
                return _data([{"ts": str(ask.now_ms)}])
            case "public/instruments":
                return self._instruments(ask)
            case "market/candles" | "market/history-candles":
                return self._candles(ask)
            case "market/trades":
                return self._trades(ask)
            case "market/history-trades":
                return self._old_trades(ask)
            case "market/books":
                return self._book(ask, most=_MOST_LEVELS, counts='"0","1"')
            case "market/books-full":
                return self._book(ask, most=_MOST_FULL_LEVELS, counts='"1"')
            case _:
                raise _error("404", "Not Found", status=HTTPStatus.NOT_FOUND)

    def market_asked(self, ask: Ask) -> Market | None:
        """The market named by `instId`."""
        return self._markets.get(ask.query.get("instId", ""))

    def _instruments(self, ask: Ask) -> Answer:
        kind = ask.query.get("instType", "")
        if not kind:
            raise _error("50014", "Parameter instType can not be empty", status=HTTPStatus.BAD_REQUEST)
        if kind not in ("SPOT", "SWAP", "FUTURES", "OPTION"):
            raise _wrong("instType")
        listed = {name: market for name, market in self._markets.items() if market.is_listed(ask.now_ms)}
        wanted = ask.query.get("instId")
        if wanted is not None and wanted not in listed:
            raise _unknown()
        return _data(
            [
                _describe(name, market)
                for name, market in listed.items()
                if _kind(market) == kind and wanted in (None, name)
            ]
        )

    def _candles(self, ask: Ask) -> Page:
        """The newest candles between `before` and `after`, neither of them included; the open one is among them.

        The limit is 100 unless given and is silently cut to 300, of history too since August 2025
        (github.com/ccxt/ccxt/issues/26705). An interval without a trade has a candle of the previous close.
        """
        market, grid = self._market(ask), _GRIDS.get(ask.query.get("bar", "1m"))
        if grid is None:
            raise _wrong("bar")
        start_ms, end_ms = _opens(ask, market, grid)
        wanted = (grid.ceil(end_ms) - grid.ceil(start_ms)) // grid.length_ms
        most = min(_limit(ask, _DEFAULT_ROWS, _MOST_BARS), wanted)
        rows = self._pages.last_rows(market, grid, end_ms, most=most, now_ms=ask.now_ms) if most > 0 else []
        if rows and end_ms > grid.floor(ask.now_ms):
            rows[-1] = rows[-1].removesuffix('"1"]') + '"0"]'
        layout = _SPOT_LAYOUT if market.settle is None else _CONTRACT_LAYOUT
        return Page(rows[::-1], layout, _HEAD, _TAIL)

    def _trades(self, ask: Ask) -> Page:
        """The latest trades; there is no way to ask for others."""
        market = self._market(ask)
        stop = market.history.rank_at(ask.now_ms * NS_PER_MS)
        return _trade_page(market, 0, stop, ask.at_most(_limit(ask, _DEFAULT_ROWS, _MOST_TRADES)))

    def _old_trades(self, ask: Ask) -> Page:
        """The newest trades between the ids `before` and `after`; with `type` 2 `after` is a time, `before` refused."""
        market = self._market(ask)
        history = market.history
        first, stop = 0, history.rank_at(ask.now_ms * NS_PER_MS)
        by_time = ask.query.get("type", "1") == "2"
        if "after" in ask.query:
            after = _whole_number(ask, "after", default=0)
            stop = min(stop, history.rank_at(after * NS_PER_MS) if by_time else history.rank_of(after))
        if "before" in ask.query:
            if by_time:
                raise _wrong("before")
            first = history.rank_of(_whole_number(ask, "before", default=0) + 1)
        return _trade_page(market, first, stop, ask.at_most(_limit(ask, _DEFAULT_ROWS, _MOST_OLD_TRADES)))

    def _book(self, ask: Ask, *, most: int, counts: str) -> BookPage:
        """The best `sz` levels a side, one unless given; to ask for more than there may be is refused.

        `counts` stands behind each level's price and amount: liquidated and all orders, or orders alone.
        """
        market = self._market(ask)
        depth = _whole_number(ask, "sz", default=1)
        if not 1 <= depth <= most:
            raise _wrong("sz")
        book = market.history.book(ask.now_ms, depth)
        return BookPage(
            _encode_levels(market, book.bid_price, book.bid_amount, counts),
            _encode_levels(market, book.ask_price, book.ask_amount, counts),
            _LEVEL_LAYOUT,
            _HEAD + '{"bids":[',
            '],"asks":[',
            f'],"ts":"{book.time_ms}","seqId":{book.nonce}}}]}}',
        )

    def _market(self, ask: Ask) -> Market:
        if not ask.query.get("instId"):
            raise _error("50014", "Parameter instId can not be empty", status=HTTPStatus.BAD_REQUEST)
        if (market := self.market_asked(ask)) is None:
            raise _unknown()
        return market


def _opens(ask: Ask, market: Market, grid: Grid) -> tuple[int, int]:
    """From when to before when candles may open that the request is about."""
    start_ms = _whole_number(ask, "before", default=-1) + 1
    if not ask.path.endswith("history-candles"):
        start_ms = max(start_ms, grid.floor(ask.now_ms) - (_RECENT_BARS - 1) * grid.length_ms)
    ends_ms = (_whole_number(ask, "after", default=ask.now_ms + 1), ask.now_ms + 1, market.history.end_ms)
    return start_ms, min(end_ms for end_ms in ends_ms if end_ms is not None)


def _encode_bars(market: Market, grid: Grid, bars: Bars) -> list[str]:  # noqa: ARG001 -- no row names its length
    history = market.history
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    volume, size = bars.volume / lot, market.contract_size
    if size is None:
        others = (bars.turnover / (tick * lot),) * 2
    elif market.inverse:
        others = (bars.turnover * (tick / lot) * size, volume * size)
    else:
        others = (volume * size, bars.turnover / (tick * lot) * size)
    prices = (prices / tick for prices in (bars.open, bars.high, bars.low, bars.close))
    columns = (bars.open_ms, *prices, volume, *others)
    price, amount = f'"%.{history.price_decimals}f"', f'"%.{history.amount_decimals}f"'
    turned = f'"%.{_TURNOVER_DECIMALS}f"'
    template = f'["%d",{price},{price},{price},{price},{amount},{turned},{turned},"1"]'
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _trade_page(market: Market, first: int, stop: int, most: int) -> Page:
    trades = market.history.ranked(max(first, stop - most), stop)
    return Page(_encode_trades(market, trades)[::-1], _TRADE_LAYOUT, _HEAD, _TAIL)


def _encode_trades(market: Market, trades: Trades) -> list[str]:
    history = market.history
    tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
    template = (
        f'{{"instId":"{_instrument_id(market)}","side":"%s","sz":"%.{history.amount_decimals}f",'
        f'"px":"%.{history.price_decimals}f","tradeId":"%s","ts":"%d"}}'
    )
    columns = (
        ["buy" if bought else "sell" for bought in trades.buyer_took.tolist()],
        (trades.amount / lot).tolist(),
        (trades.price / tick).tolist(),
        trades.ids(),
        trades.time_ms.tolist(),
    )
    return [template % row for row in zip(*columns, strict=True)]


def _encode_levels(market: Market, prices: Int64Array, amounts: Int64Array, counts: str) -> list[str]:
    history = market.history
    template = f'["%.{history.price_decimals}f","%.{history.amount_decimals}f",{counts}]'
    columns = (prices / 10.0**history.price_decimals, amounts / 10.0**history.amount_decimals)
    return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]


def _describe(name: str, market: Market) -> Mapping[str, object]:
    contract = market.contract_size is not None
    pair = f"{market.base}-{market.quote}"
    return {
        "alias": "",
        "baseCcy": "" if contract else market.base,
        "category": "1",
        "ctMult": "1" if contract else "",
        "ctType": ("inverse" if market.inverse else "linear") if contract else "",
        "ctVal": f"{market.contract_size:g}" if contract else "",
        "ctValCcy": (market.quote if market.inverse else market.base) if contract else "",
        "expTime": "" if market.expires_ms is None else str(market.expires_ms),
        "instFamily": pair if contract else "",
        "instId": name,
        "instType": _kind(market),
        "lever": "100" if contract else "",
        "listTime": str(market.history.first_ms),
        "lotSz": step(market.amount_decimals),
        "maxLmtSz": "100000000",
        "maxMktSz": "30000",
        "minSz": step(market.amount_decimals),
        "optType": "",
        "quoteCcy": "" if contract else market.quote,
        "ruleType": "normal",
        "settleCcy": market.settle or "",
        "state": "live" if market.active else "suspend",
        "stk": "",
        "tickSz": step(market.price_decimals),
        "uly": pair if contract else "",
    }


def _kind(market: Market) -> str:
    if market.settle is None:
        return "SPOT"
    return "SWAP" if market.expires_ms is None else "FUTURES"


def _instrument_id(market: Market) -> str:
    endings = {"SPOT": "", "SWAP": "-SWAP", "FUTURES": f"-{market.symbol.rpartition('-')[2]}"}
    return f"{market.base}-{market.quote}{endings[_kind(market)]}"


def _limit(ask: Ask, default: int, most: int) -> int:
    limit = _whole_number(ask, "limit", default=default)
    if limit < 1:
        raise _wrong("limit")
    return min(limit, most)


def _whole_number(ask: Ask, name: str, *, default: int) -> int:
    text = ask.query.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise _wrong(name)
    return int(text)


def _data(rows: list[Mapping[str, object]]) -> Answer:
    return json_answer({"code": "0", "msg": "", "data": rows})


def _wrong(name: str) -> Refused:
    return _error("51000", f"Parameter {name} error", status=HTTPStatus.BAD_REQUEST)


def _unknown() -> Refused:
    return _error("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")


def _error(code: str, message: str, *, status: int = HTTPStatus.OK) -> Refused:
    return Refused(json_answer({"code": code, "data": [], "msg": message}, status=status))
