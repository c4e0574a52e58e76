"""The border to the exchanges: markets, clock and candles through ccxt, with its errors translated into ours.

Importing this imports no ccxt: `open_exchange` does.
"""

from tapehouse.exchange.client import Exchange, open_exchange
from tapehouse.exchange.pages import CandlePage
from tapehouse.exchange.retry import RetryPolicy
from tapehouse.exchange.routing import route_through

__all__ = ["CandlePage", "Exchange", "RetryPolicy", "open_exchange", "route_through"]
