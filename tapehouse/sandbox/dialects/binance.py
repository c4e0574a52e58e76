"""Binance: spot (api.binance.com), USDT-M futures (fapi.binance.com), and COIN-M futures without any market.

The rules are those of developers.binance.com ("Kline/Candlestick data", "Exchange information",
"Limits" of each product), the shapes those of recorded responses.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from tapehouse.sandbox.answer import Answer, Ask, Layout, Page, Refused, json_answer
from tapehouse.sandbox.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bars, Grid
from tapehouse.sandbox.limits import WeightPerMinute
from tapehouse.sandbox.market import Market, step
from tapehouse.sandbox.pages import Pages

_LAYOUT: Final = Layout(time=0, open=1, high=2, low=3, close=4, volume=5, time_unit_ms=1)
_GRIDS: Final = {
    **{f"{minutes}m": Grid(minutes * MINUTE_MS) for minutes in (1, 3, 5, 15, 30)},
    **{f"{hours}h": Grid(hours * HOUR_MS) for hours in (1, 2, 4, 6, 8, 12)},
    "1d": Grid(DAY_MS),
    # Weeks open on Monday; 1970 began on a Thursday.
    "1w": Grid(7 * DAY_MS, origin_ms=4 * DAY_MS),
}
_PERPETUAL_ENDS_MS: Final = 4_133_404_800_000
_TURNOVER_DECIMALS: Final = 8
_DEFAULT_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Product:
    """What sets one of Binance's products apart; weights count towards `weight_per_minute`."""

    exchange: str
    host: str
    root: str
    most_rows: int
    least_decimals: int
    weight_per_minute: int
    listing_weight: int
    klines_weight: Callable[[int], int]
    describe: Callable[[str, Market], Mapping[str, object]]


class Binance:
    """One product of Binance."""

    def __init__(self, product: Product, markets: Sequence[Market], *, weight_per_minute: int | None) -> None:
        self.exchange = product.exchange
        self.host = product.host
        self._product = product
        self._markets = {market.base + market.quote: market for market in markets if market.exchange == self.exchange}
        self._pages = Pages(self._encode, fills_empty=True)
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

    def answer(self, ask: Ask) -> Answer | Page:
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

    def _klines(self, ask: Ask) -> Answer | Page:
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

    def _series(self, ask: Ask) -> tuple[Market, Grid]:
        for name in ("symbol", "interval"):
            if not ask.query.get(name):
                raise _error(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        if (market := self.market_asked(ask)) is None:
            raise _error(-1121, "Invalid symbol.")
        if (grid := _GRIDS.get(ask.query["interval"])) is None:
            raise _error(-1120, "Invalid interval.")
        return market, grid

    def _encode(self, market: Market, grid: Grid, bars: Bars) -> list[str]:
        history = market.history
        tick, lot = 10.0**history.price_decimals, 10.0**history.amount_decimals
        turnover = bars.turnover / (tick * lot)
        columns = (
            bars.open_ms,
            *(prices / tick for prices in (bars.open, bars.high, bars.low, bars.close)),
            bars.volume / lot,
            bars.open_ms + (grid.length_ms - 1),
            turnover,
            bars.trades,
            bars.taker_bought / lot,
            turnover * bars.taker_bought / bars.volume.clip(min=1),
        )
        price, amount = self._number(history.price_decimals), self._number(history.amount_decimals)
        turned = f'"%.{_TURNOVER_DECIMALS}f"'
        template = f'[%d,{price},{price},{price},{price},{amount},%d,{turned},%d,{amount},{turned},"0"]'
        return [template % row for row in zip(*(column.tolist() for column in columns), strict=True)]

    def _number(self, decimals: int) -> str:
        """The format of a number with that many decimals: spot pads it with zeros to eight."""
        return f'"%.{decimals}f{"0" * (self._product.least_decimals - decimals)}"'

    def _weight(self, ask: Ask) -> int:
        match ask.path.removeprefix(self._product.root):
            case "klines":
                limit = ask.query.get("limit", "")
                return self._product.klines_weight(int(limit) if limit.isdecimal() else _DEFAULT_ROWS)
            case "exchangeInfo":
                return self._product.listing_weight
            case _:
                return 1

    def _used(self) -> dict[str, str]:
        return {"X-MBX-USED-WEIGHT-1M": str(self._limiter.used)}


def _spot_klines_weight(_: int) -> int:
    return 2


def _futures_klines_weight(limit: int) -> int:
    return next(weight for below, weight in ((100, 1), (500, 2), (1001, 5), (limit + 1, 10)) if limit < below)


def _spot_symbol(name: str, market: Market) -> Mapping[str, object]:
    tick, lot = (f"{step(d)}{'0' * (8 - d)}" for d in (market.price_decimals, market.amount_decimals))
    return {
        "symbol": name,
        "status": "TRADING" if market.active else "BREAK",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000.00000000", "stepSize": lot},
            {"filterType": "NOTIONAL", "minNotional": "5.00000000", "maxNotional": "9000000.00000000"},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _futures_symbol(name: str, market: Market) -> Mapping[str, object]:
    tick, lot = step(market.price_decimals), step(market.amount_decimals)
    return {
        "symbol": name,
        "pair": name,
        "contractType": "PERPETUAL",
        "deliveryDate": _PERPETUAL_ENDS_MS,
        "onboardDate": market.history.first_ms,
        "status": "TRADING" if market.active else "SETTLING",
        "baseAsset": market.base,
        "quoteAsset": market.quote,
        "marginAsset": market.quote,
        "pricePrecision": market.price_decimals,
        "quantityPrecision": market.amount_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "1000000", "stepSize": lot},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


SPOT: Final = Product(
    exchange="binance",
    host="api.binance.com",
    root="/api/v3/",
    most_rows=1000,
    least_decimals=8,
    weight_per_minute=6000,
    listing_weight=20,
    klines_weight=_spot_klines_weight,
    describe=_spot_symbol,
)
USD_FUTURES: Final = Product(
    exchange="binanceusdm",
    host="fapi.binance.com",
    root="/fapi/v1/",
    most_rows=1500,
    least_decimals=0,
    weight_per_minute=2400,
    listing_weight=1,
    klines_weight=_futures_klines_weight,
    describe=_futures_symbol,
)
# ccxt's binance class asks for these markets too; the sandbox lists none.
COIN_FUTURES: Final = replace(USD_FUTURES, exchange="binancecoinm", host="dapi.binance.com", root="/dapi/v1/")


def _whole_number(ask: Ask, name: str) -> int | None:
    text = ask.query.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise _error(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
    return int(text)


def _error(code: int, message: str) -> Refused:
    return Refused(json_answer({"code": code, "msg": message}, status=HTTPStatus.BAD_REQUEST))
