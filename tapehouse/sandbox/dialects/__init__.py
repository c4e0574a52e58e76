"""The dialects: one exchange each, its paths, its JSON and its habits.

A dialect answers requests from markets; HTTP, faults and latency are the server's business.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tapehouse.sandbox.answer import Answer, Ask, Reply
from tapehouse.sandbox.dialects.binance import Binance
from tapehouse.sandbox.dialects.binance_products import COIN_FUTURES, SPOT, USD_FUTURES
from tapehouse.sandbox.dialects.binance_stream import FUTURES_STREAMS, SPOT_STREAMS, BinanceStream
from tapehouse.sandbox.dialects.bybit import Bybit
from tapehouse.sandbox.dialects.coinbase import Coinbase
from tapehouse.sandbox.dialects.coinbase_advanced import CoinbaseAdvanced
from tapehouse.sandbox.dialects.kraken import Kraken
from tapehouse.sandbox.dialects.kraken_stream import KrakenStream
from tapehouse.sandbox.dialects.okx import Okx
from tapehouse.sandbox.feeds import StreamDialect
from tapehouse.sandbox.market import Market


class Dialect(Protocol):
    """How one exchange answers at one host."""

    exchange: str
    host: str

    def refuse(self, ask: Ask, now_s: float) -> Answer | None:
        """What it says to a request too many; counts the request."""
        ...

    def answer(self, ask: Ask) -> Reply:
        """Its answer to the request; raises Refused for an error."""
        ...

    def market_asked(self, ask: Ask) -> Market | None:
        """The market that the request is about."""
        ...


def dialects(markets: Sequence[Market], limits: Mapping[str, int]) -> list[Dialect]:
    """All dialects, each with its exchange's markets and the request limit given for it, else the real one."""
    binance = [
        Binance(product, markets, weight_per_minute=limits.get(product.exchange))
        for product in (SPOT, USD_FUTURES, COIN_FUTURES)
    ]
    return [
        *binance,
        Kraken(markets, requests_at_once=limits.get("kraken")),
        Coinbase(markets, requests_at_once=limits.get("coinbaseexchange")),
        CoinbaseAdvanced(markets, requests_per_window=limits.get("coinbase")),
        Okx(markets, requests_per_window=limits.get("okx")),
        Bybit(markets, requests_per_window=limits.get("bybit")),
    ]


def stream_dialects(markets: Sequence[Market]) -> list[StreamDialect]:
    """The dialects of all streams, each with its exchange's markets."""
    binance = [BinanceStream(product, markets) for product in (SPOT_STREAMS, FUTURES_STREAMS)]
    return [*binance, KrakenStream(markets)]
