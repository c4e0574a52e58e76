"""What each exchange does its own way, and where that is written: page sizes, empty intervals, units.

Facts only; what follows from them is in `pages` and `listings`. An exchange that is not named
here is taken to be careful about nothing: its pages are as large as ccxt says, and rows that
are missing are asked for once more.
"""

from dataclasses import dataclass
from typing import Final, Literal

ContractType = Literal["linear", "inverse"]


@dataclass(frozen=True, slots=True)
class Habits:
    """One exchange's habits.

    - `page_limit`: the most candles a page, where ccxt's own figure is missing or too low.
    - `recent_only`: only the last `page_limit` candles exist; whatever the start asked for, one
      page holds all from there to now, and an end is ignored.
    - `leaves_out_empty`: no row for an interval without trades, so a missing row means nothing.
    - `skips_ahead`: a start without an end gives the first candles there are from it on.
    - `market_types`: the kinds of market to load, in ccxt's words; None for all but options.
    - `volume_in_contracts`: contracts whose volume ccxt passes on in contracts, not in base units.
    """

    page_limit: int | None = None
    recent_only: bool = False
    leaves_out_empty: bool = False
    skips_ahead: bool = False
    market_types: tuple[str, ...] | None = None
    volume_in_contracts: frozenset[ContractType] = frozenset()


# Zero-volume klines for quiet minutes, startTime alone goes on from there, limit 1000:
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
# USD-M allows 1500 a page, but ccxt cuts any limit to 1000 (binance.py, fetch_ohlcv, maxLimit).
_BINANCE: Final = Habits(page_limit=1000, skips_ahead=True)

_HABITS: Final = {
    # COIN-M has markets of its own id; loading them here would cost a third request.
    "binance": Habits(page_limit=1000, skips_ahead=True, market_types=("spot", "linear")),
    "binanceusdm": _BINANCE,
    "binanceus": _BINANCE,
    # ccxt adds an end to a start here (binance.py, fetch_ohlcv, issue 8454), so nothing is skipped.
    "binancecoinm": Habits(page_limit=1000),
    # "Returns up to 720 of the most recent entries (older data cannot be retrieved, regardless of
    # the value of since)": https://docs.kraken.com/api/docs/rest-api/get-ohlc-data
    # Quiet minutes come as zero-volume rows: 216 of 721 in a recorded answer.
    "kraken": Habits(page_limit=720, recent_only=True),
    # PI_ contracts are worth 1 USD each and counted: https://docs.kraken.com/api/docs/futures-api/charts/candles
    "krakenfutures": Habits(volume_in_contracts=frozenset(("inverse",))),
    # "If there are no ticks within the interval, no data is published"; at most 300 a page:
    # https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductcandles
    "coinbase": Habits(page_limit=300, leaves_out_empty=True),
    "coinbaseexchange": Habits(page_limit=300, leaves_out_empty=True),
    # https://bybit-exchange.github.io/docs/v5/market/kline (inverse: ccxt takes the turnover, in base units)
    "bybit": Habits(page_limit=1000),
    # https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-candlesticks (ccxt takes volCcy, base units)
    "okx": Habits(page_limit=300),
    # "The candles are only given for timeframes with trades": https://docs.bitfinex.com/reference/rest-public-candles
    "bitfinex": Habits(leaves_out_empty=True),
    # v is "size volume (contract size)": https://www.gate.com/docs/developers/apiv4/#get-futures-candlesticks
    "gate": Habits(volume_in_contracts=frozenset(("linear", "inverse"))),
    # Volumes of futures are in lots: https://www.kucoin.com/docs-new/rest/futures-trading/market-data/get-klines
    "kucoin": Habits(volume_in_contracts=frozenset(("linear", "inverse"))),
    "kucoinfutures": Habits(volume_in_contracts=frozenset(("linear", "inverse"))),
    # vol is in contracts: https://www.mexc.com/api-docs/futures/market-endpoints
    "mexc": Habits(volume_in_contracts=frozenset(("linear", "inverse"))),
}


def habits_of(exchange_id: str) -> Habits:
    """The habits of that exchange, by ccxt's id."""
    return _HABITS.get(exchange_id, Habits())
