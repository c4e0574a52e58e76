"""The sandbox exchange: a local server that answers as real exchanges do, so that ccxt's classes run unmodified.

    with Sandbox(generated_markets(seed=7)) as sandbox:
        ...  # ask f"{sandbox.url}/api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1m"

Its markets come from a seeded generator or from recorded files; faults, limits and latency can be set.
"""

from tapehouse.sandbox.catalog import generated_markets
from tapehouse.sandbox.clock import ReplayClock
from tapehouse.sandbox.faults import Fault
from tapehouse.sandbox.market import Market
from tapehouse.sandbox.record import Asked
from tapehouse.sandbox.recorded import market_from_rows, recorded_markets
from tapehouse.sandbox.serve import serve
from tapehouse.sandbox.server import Sandbox
from tapehouse.sandbox.taped import market_from_trades
from tapehouse.sandbox.trading import recorded_trading

__all__ = [
    "Asked",
    "Fault",
    "Market",
    "ReplayClock",
    "Sandbox",
    "generated_markets",
    "market_from_rows",
    "market_from_trades",
    "recorded_markets",
    "recorded_trading",
    "serve",
]
