"""What each exchange does its own way, and where that is written: page sizes, empty intervals, units.

Facts only; what follows from them is in `pages`, `listings`, `trade_requests` and `books`. An
exchange that is not named here is taken to be careful about nothing: its pages are as large as
ccxt says, rows that are missing are asked for once more, and it has recent trades only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

ContractType = Literal["linear", "inverse"]
TradeStyle = Literal["from_id", "up_to_id", "cursor", "window", "recent"]


@dataclass(frozen=True, slots=True)
class Habits:
    """One exchange's habits.

    - `page_limit`: the most candles a page, where ccxt's own figure is missing or too low.
    - `page_span`: the longest time one request may ask for.
    - `recent_only`: only the last `page_limit` candles exist; whatever the start asked for, one
      page holds all from there to now, and an end is ignored.
    - `leaves_out_empty`: no row for an interval without trades, so a missing row means nothing.
    - `candles_in_order`: candles come as arrays that begin with time in ms, open, high, low, close and volume.
    - `skips_ahead`: a start without an end gives the first candles there are from it on.
    - `market_types`: the kinds of market to load, in ccxt's words; None for all but options.
    - `volume_in_contracts`: contracts whose volume ccxt passes on in contracts, not in base units.
    - `trade_style`: how older trades are asked for: from an id on, or within an hour; up to an id; from
      a time in nanoseconds on; within whole seconds; or not at all.
    - `trade_limit`, `spot_trade_limit`: the most trades a page, on spot markets where that differs; None
      where it is not known.
    - `counts_units`: trades and books count units of the base, or of the quote for inverse contracts, though
      the exchange has a contract size.
    - `tells_maker_side`: the side that ccxt passes on is that of the order in the book.
    - `side_cell`: where a trade as received tells its side, where ccxt makes one up for those that don't.
    - `tells_whole_seconds`: its clock leaves out what is less than a second.
    - `book_depths`: the depths that an order book can be asked for, in order; None for any.
    - `trade_channel`: which of several streams of trades has those that requests give, in ccxt's words.
    - `streamed_depths`: the depths that an order book can be subscribed to, in order; None where it comes whole.
    - `checks_books`: its streams of order books come with a checksum that ccxt leaves alone (`book_checksums`).
    """

    page_limit: int | None = None
    page_span: timedelta | None = None
    recent_only: bool = False
    leaves_out_empty: bool = False
    candles_in_order: bool = False
    skips_ahead: bool = False
    market_types: tuple[str, ...] | None = None
    volume_in_contracts: frozenset[ContractType] = frozenset()
    trade_style: TradeStyle = "recent"
    trade_limit: int | None = None
    spot_trade_limit: int | None = None
    counts_units: bool = False
    tells_maker_side: bool = False
    side_cell: int | str | None = None
    tells_whole_seconds: bool = False
    book_depths: Sequence[int] | None = None
    trade_channel: str | None = None
    streamed_depths: Sequence[int] | None = None
    checks_books: bool = False

    @property
    def counts_trades(self) -> bool:
        """Whether the ids of trades run without holes, so that one that is missing is missed."""
        return self.trade_style in ("from_id", "up_to_id", "cursor")


# Trades are aggregated and counted without holes; of a window's trades the last 1000 come:
# https://github.com/binance/binance-spot-api-docs/issues/10. The depths are those that all products take:
# https://developers.binance.com/docs/derivatives/usds-margined-futures/market-data/rest-api/Order-Book
# Streams have trades singly and aggregated, with ids of their own each.
_BINANCE_FAMILY: Final = Habits(
    page_limit=1000,
    trade_style="from_id",
    trade_limit=1000,
    book_depths=(5, 10, 20, 50, 100, 500, 1000),
    trade_channel="aggTrade",
)
# Quiet minutes come as zero-volume rows, a start alone goes on from there, at most 1000 a page:
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
# USD-M allows 1500 a page, but ccxt cuts any limit to 1000 (binance.py, fetch_ohlcv, maxLimit).
_BINANCE: Final = replace(_BINANCE_FAMILY, skips_ahead=True, candles_in_order=True)
# "No data is published for intervals where there are no ticks"; at most 300 candles a page:
# https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-candles
_COINBASE: Final = Habits(page_limit=300, leaves_out_empty=True, trade_limit=1000)
_ALL_IN_CONTRACTS: Final = Habits(volume_in_contracts=frozenset(("linear", "inverse")))
# "Get part orderbook": 20 or 100 levels, and ccxt refuses other depths (kucoin.py, fetch_order_book).
_KUCOIN: Final = replace(_ALL_IN_CONTRACTS, book_depths=(20, 100))

_HABITS: Final = {
    # COIN-M has markets of its own id; loading them here would cost a third request.
    "binance": replace(_BINANCE, market_types=("spot", "linear")),
    "binanceusdm": _BINANCE,
    "binanceus": _BINANCE,
    # "The difference between startTime and endTime can only be up to 200 days", and a start alone gets
    # an end: https://developers.binance.com/docs/derivatives/coin-margined-futures/market-data/rest-api
    "binancecoinm": replace(_BINANCE_FAMILY, page_span=timedelta(days=200)),
    # "Returns up to 720 of the most recent entries (older data cannot be retrieved, regardless of
    # the value of since)": https://docs.kraken.com/api-reference/market-data/get-ohlc-data
    # Quiet minutes come as zero-volume rows: 216 of 721 in a recorded answer.
    # Trades of all times, at most 1000 a page, after `since`, "last" being the next one; their ids run
    # without holes, as 1000 recorded ones do: https://docs.kraken.com/api-reference/market-data/get-recent-trades
    # Books of 1 to 500 levels: https://docs.kraken.com/api-reference/market-data/get-order-book
    # Streamed ones: https://docs.kraken.com/api/docs/websocket-v2/book
    "kraken": Habits(
        page_limit=720,
        recent_only=True,
        trade_style="cursor",
        trade_limit=1000,
        side_cell=3,
        tells_whole_seconds=True,
        book_depths=range(1, 501),
        streamed_depths=(10, 25, 100, 500, 1000),
        checks_books=True,
    ),
    # Inverse contracts are worth 1 USD each and counted: https://docs.kraken.com/api-reference/candles/market-candles
    "krakenfutures": Habits(volume_in_contracts=frozenset(("inverse",))),
    # Trades by UNIX seconds: https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/public/get-public-market-trades
    # Their side is the maker's, as on Coinbase Exchange: in a recorded answer the last trade, at the best
    # ask, is a "SELL". There ccxt turns it round, here it does not (coinbase.py, parse_trade).
    # At most 100 of them come, however many are asked for.
    "coinbase": replace(_COINBASE, trade_style="window", trade_limit=100, tells_maker_side=True),
    # `after` gives the trades before an id, newest first, and ids run without holes from 1 on:
    # https://docs.cdp.coinbase.com/exchange/rest-api/pagination, https://github.com/ccxt/ccxt/issues/8426
    "coinbaseexchange": replace(_COINBASE, trade_style="up_to_id", side_cell="side"),
    # https://bybit-exchange.github.io/docs/v5/market/kline (inverse: ccxt takes the turnover, in base units)
    # Recent trades only, 60 of a spot market and 1000 of others: https://bybit-exchange.github.io/docs/v5/market/recent-trade
    # Books of 1 to 200 levels everywhere: https://bybit-exchange.github.io/docs/v5/market/orderbook
    "bybit": Habits(page_limit=1000, trade_limit=1000, spot_trade_limit=60, book_depths=range(1, 201)),
    # https://www.okx.com/docs-v5/en/#rest-api-market-data-get-candlesticks (ccxt takes volCcy, in base units)
    # At most the 500 most recent trades: https://www.okx.com/docs-v5/en/#rest-api-market-data-get-trades
    # Books of 1 to 400 levels: https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-order-book
    "okx": Habits(page_limit=300, trade_limit=500, book_depths=range(1, 401)),
    # Amounts of perpetual and inverse futures are in USD, of options and linear contracts in the base
    # (ccxt's deribit.py, create_order and parse_trade).
    "deribit": Habits(counts_units=True),
    # "Candles will not be generated if there was no trading volume":
    # https://github.com/bitfinexcom/bitfinex-api-py/issues/198
    "bitfinex": Habits(leaves_out_empty=True),
    # v is "size volume (contract size)": https://www.gate.com/docs/developers/apiv4/#get-futures-candlesticks
    "gate": _ALL_IN_CONTRACTS,
    # Futures volumes are whole lots: https://www.kucoin.com/docs-new/rest/futures-trading/market-data/get-klines
    "kucoin": _KUCOIN,
    "kucoinfutures": _KUCOIN,
    # vol counts contracts, of contractSize each: https://www.mexc.com/api-docs/futures/market-endpoints
    "mexc": _ALL_IN_CONTRACTS,
}


def habits_of(exchange_id: str) -> Habits:
    """The habits of that exchange, by ccxt's id."""
    return _HABITS.get(exchange_id, Habits())
