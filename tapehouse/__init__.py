"""A store for crypto market data: ccxt to TimescaleDB to pandas.

    from tapehouse import MarketData

    with MarketData.connect() as market:
        candles = market.candles("binance", "BTC/USDT", "1h", start)

`AsyncMarketData` is the same for asyncio. Importing this loads neither pandas nor psycopg; using what is in it does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tapehouse.query.async_market import AsyncMarketData
    from tapehouse.query.inference import InferenceDataFrame
    from tapehouse.query.market import MarketData
    from tapehouse.query.records import OHLCVCandle, OrderBookDataFrame, TradeEvent

__all__ = ["AsyncMarketData", "InferenceDataFrame", "MarketData", "OHLCVCandle", "OrderBookDataFrame", "TradeEvent"]

_HOMES: Final = {
    "AsyncMarketData": "async_market",
    "InferenceDataFrame": "inference",
    "MarketData": "market",
    "OHLCVCandle": "records",
    "OrderBookDataFrame": "records",
    "TradeEvent": "records",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- whatever the name stands for
    if name in _HOMES:
        return getattr(import_module(f"tapehouse.query.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
