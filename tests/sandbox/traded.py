"""What the sandbox's markets traded, as plain numbers, and candles counted from that with pandas."""

from typing import Final

import pandas as pd

from tapehouse.sandbox import Market, Sandbox
from tapehouse.sandbox.generator import GeneratedHistory

HOUR_MS: Final = 3_600_000
# What there was before a stretch: long enough to hold a trade of the thin markets.
LEAD_MS: Final = 6 * HOUR_MS


def history_of(sandbox: Sandbox, exchange: str, symbol: str) -> GeneratedHistory:
    history = market_of(sandbox, exchange, symbol).history
    assert isinstance(history, GeneratedHistory)
    return history


def market_of(sandbox: Sandbox, exchange: str, symbol: str) -> Market:
    (market,) = (m for m in sandbox.markets if (m.exchange, m.symbol) == (exchange, symbol))
    return market


def trades_of(sandbox: Sandbox, exchange: str, symbol: str, start_ms: int, end_ms: int) -> pd.DataFrame:
    """The trades in [start_ms, end_ms): id, ms, price, amount in the exchange's unit, the taker's side."""
    history = history_of(sandbox, exchange, symbol)
    trades = history.trades(start_ms, end_ms)
    return pd.DataFrame(
        {
            "id": trades.trade_id,
            "ms": trades.time_ms,
            "price": [round(price / 10**history.price_decimals, 10) for price in trades.price.tolist()],
            "amount": [round(amount / 10**history.amount_decimals, 10) for amount in trades.amount.tolist()],
            "side": ["buy" if bought else "sell" for bought in trades.buyer_took.tolist()],
        }
    )


def latest_trades_of(sandbox: Sandbox, exchange: str, symbol: str, count: int, *, end_ms: int) -> pd.DataFrame:
    """The last `count` trades before `end_ms`."""
    reach_ms = HOUR_MS
    while len(trades := trades_of(sandbox, exchange, symbol, end_ms - reach_ms, end_ms)) < count:
        reach_ms *= 4
    return trades.tail(count)


def candles_of(
    sandbox: Sandbox, exchange: str, symbol: str, start_ms: int, end_ms: int, *, length_ms: int, now_ms: int
) -> list[list[float]]:
    """Candles `[ms, open, high, low, close, base volume]` of [start_ms, end_ms), one for each interval.

    An interval without a trade holds the price before it; a contract's amount is turned into base.
    """
    market = market_of(sandbox, exchange, symbol)
    trades = trades_of(sandbox, exchange, symbol, start_ms - LEAD_MS, min(end_ms, now_ms))
    base = trades["amount"] * (market.contract_size or 1.0) / (trades["price"] if market.inverse else 1.0)
    close = float(trades["price"][trades["ms"] < start_ms].iloc[-1])
    candles: list[list[float]] = []
    for open_ms in range(start_ms, end_ms, length_ms):
        inside = (trades["ms"] >= open_ms) & (trades["ms"] < open_ms + length_ms)
        prices = trades["price"][inside].to_list() or [close]
        close = prices[-1]
        candles.append([open_ms, prices[0], max(prices), min(prices), close, float(base[inside].sum())])
    return candles
