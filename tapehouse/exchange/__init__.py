"""The border to the exchanges: markets, clock, candles, trades and order books; ccxt behind it, its errors translated.

Importing this imports no ccxt: `open_exchange` does.
"""

from tapehouse.exchange.client import Exchange, open_exchange
from tapehouse.exchange.pages import CandlePage
from tapehouse.exchange.retry import RetryPolicy
from tapehouse.exchange.routing import route_through
from tapehouse.exchange.trades import TradePage

__all__ = ["CandlePage", "Exchange", "RetryPolicy", "TradePage", "open_exchange", "route_through"]
