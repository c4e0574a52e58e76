"""Binance's products: what sets spot, USDT-M and COIN-M futures apart, and how each lists its markets.

The rules are those of developers.binance.com ("Exchange information", "Limits" and the weight of each
request); how they are answered is `tapehouse.sandbox.dialects.binance`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from tapehouse.sandbox.bars import HOUR_MS
from tapehouse.sandbox.market import Market, step

_PERPETUAL_ENDS_MS: Final = 4_133_404_800_000


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
    trades_weight: int
    # Of trades, where both of its ends are given.
    longest_window_ms: float
    default_depth: int
    # The depths there are; None where every depth up to the most is one.
    depths: frozenset[int] | None
    depth_weight: Callable[[int], int]
    tells_book_time: bool
    tells_best_match: bool
    describe: Callable[[str, Market], Mapping[str, object]]


def _spot_klines_weight(_: int) -> int:
    return 2


def _futures_klines_weight(limit: int) -> int:
    return next(weight for below, weight in ((100, 1), (500, 2), (1001, 5), (limit + 1, 10)) if limit < below)


def _spot_depth_weight(depth: int) -> int:
    return next(weight for most, weight in ((100, 5), (500, 25), (1000, 50), (depth, 250)) if depth <= most)


def _futures_depth_weight(depth: int) -> int:
    return next(weight for most, weight in ((50, 2), (100, 5), (500, 10), (depth, 20)) if depth <= most)


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
    trades_weight=4,
    longest_window_ms=math.inf,
    default_depth=100,
    depths=None,
    depth_weight=_spot_depth_weight,
    tells_book_time=False,
    tells_best_match=True,
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
    trades_weight=20,
    longest_window_ms=HOUR_MS,
    default_depth=500,
    depths=frozenset({5, 10, 20, 50, 100, 500, 1000}),
    depth_weight=_futures_depth_weight,
    tells_book_time=True,
    tells_best_match=False,
    describe=_futures_symbol,
)
# ccxt's binance class asks for these markets too; the sandbox lists none.
COIN_FUTURES: Final = replace(USD_FUTURES, exchange="binancecoinm", host="dapi.binance.com", root="/dapi/v1/")
