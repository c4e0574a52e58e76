"""A store for crypto market data: ccxt to TimescaleDB to pandas.

    from tapehouse import MarketData

    with MarketData.connect() as market:
        candles = market.candles("binance", "BTC/USDT", "1h", start)

Importing this loads neither pandas nor psycopg; using MarketData does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapehouse.query.market import MarketData

__all__ = ["MarketData"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- whatever the name stands for
    if name == "MarketData":
        from tapehouse.query.market import MarketData

        return MarketData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
