"""What each exchange does its own way, and where that is written: page sizes, empty intervals, units.

Facts only; what follows from them is in `pages` and `listings`. An exchange that is not named
here is taken to be careful about nothing: its pages are as large as ccxt says, and rows that
are missing are asked for once more.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

ContractType = Literal["linear", "inverse"]


@dataclass(frozen=True, slots=True)
class Habits:
    """One exchange's habits.

    - `page_limit`: the most candles a page, where ccxt's own figure is missing or too low.
    - `page_span`: the longest time one request may ask for.
    - `recent_only`: only the last `page_limit` candles exist; whatever the start asked for, one
      page holds all from there to now, and an end is ignored.
    - `leaves_out_empty`: no row for an interval without trades, so a missing row means nothing.
    - `skips_ahead`: a start without an end gives the first candles there are from it on.
    - `market_types`: the kinds of market to load, in ccxt's words; None for all but options.
    - `volume_in_contracts`: contracts whose volume ccxt passes on in contracts, not in base units.
    """

    page_limit: int | None = None
    page_span: timedelta | None = None
    recent_only: bool = False
    leaves_out_empty: bool = False
    skips_ahead: bool = False
    market_types: tuple[str, ...] | None = None
    volume_in_contracts: frozenset[ContractType] = frozenset()


# Quiet minutes come as zero-volume rows, a start alone goes on from there, at most 1000 a page:
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
# USD-M allows 1500 a page, but ccxt cuts any limit to 1000 (binance.py, fetch_ohlcv, maxLimit).
_BINANCE: Final = Habits(page_limit=1000, skips_ahead=True)
_COINBASE: Final = Habits(page_limit=300, leaves_out_empty=True)
_ALL_IN_CONTRACTS: Final = Habits(volume_in_contracts=frozenset(("linear", "inverse")))

_HABITS: Final = {
    # COIN-M has markets of its own id; loading them here would cost a third request.
    "binance": replace(_BINANCE, market_types=("spot", "linear")),
    "binanceusdm": _BINANCE,
    "binanceus": _BINANCE,
    # "The difference between startTime and endTime can only be up to 200 days", and a start alone gets
    # an end: https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api
    "binancecoinm": Habits(page_limit=1000, page_span=timedelta(days=200)),
    # "Returns up to 720 of the most recent entries (older data cannot be retrieved, regardless of
    # the value of since)": https://docs.kraken.com/api-reference/market-data/get-ohlc-data
    # Quiet minutes come as zero-volume rows: 216 of 721 in a recorded answer.
    "kraken": Habits(page_limit=720, recent_only=True),
    # Inverse contracts are worth 1 USD each and counted: https://docs.kraken.com/api-reference/candles/market-candles
    "krakenfutures": Habits(volume_in_contracts=frozenset(("inverse",))),
    # "No data is published for intervals where there are no ticks"; at most 300 a page:
    # https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
    "coinbase": _COINBASE,
    "coinbaseexchange": _COINBASE,
    # https://bybit-exchange.github.io/docs/v5/market/kline (inverse: ccxt takes the turnover, in base units)
    "bybit": Habits(page_limit=1000),
    # https://www.okx.com/docs-v5/en/#rest-api-market-data-get-candlesticks (ccxt takes volCcy, in base units)
    "okx": Habits(page_limit=300),
    # "Candles will not be generated if there was no trading volume":
    # https://github.com/bitfinexcom/bitfinex-api-py/issues/198
    "bitfinex": Habits(leaves_out_empty=True),
    # v is "size volume (contract size)": https://www.gate.com/docs/developers/apiv4/#get-futures-candlesticks
    "gate": _ALL_IN_CONTRACTS,
    # Futures volumes are whole lots: https://www.kucoin.com/docs-new/rest/futures-trading/market-data/get-klines
    "kucoin": _ALL_IN_CONTRACTS,
    "kucoinfutures": _ALL_IN_CONTRACTS,
    # vol counts contracts, of contractSize each: https://www.mexc.com/api-docs/futures/market-endpoints
    "mexc": _ALL_IN_CONTRACTS,
}


def habits_of(exchange_id: str) -> Habits:
    """The habits of that exchange, by ccxt's id."""
    return _HABITS.get(exchange_id, Habits())
