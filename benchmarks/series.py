"""Series that nothing else uses: each of an instrument and an exchange of its own."""

from typing import Final
from uuid import uuid4

from benchmarks.setting import EXCHANGE_PREFIX
from tapehouse.instrument import Instrument, Listing
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import (
    BookSeries,
    CandleSeries,
    TradeSeries,
    ensure_book_series,
    ensure_candle_series,
    ensure_trade_series,
    find_instrument,
    sync_listings,
)
from tapehouse.timeframe import timeframe

PRICE_DECIMALS: Final = 2
AMOUNT_DECIMALS: Final = 3


def new_candle_series(
    connection: Connection,
    *,
    symbol: str = "COIN/USDT",
    price_decimals: int = PRICE_DECIMALS,
    amount_decimals: int = AMOUNT_DECIMALS,
) -> CandleSeries:
    """A series of 1m candles."""
    instrument = _new_instrument(connection, symbol, price_decimals, amount_decimals)
    return ensure_candle_series(connection, instrument, timeframe("1m"))


def new_trade_series(
    connection: Connection,
    *,
    symbol: str = "COIN/USDT",
    price_decimals: int = PRICE_DECIMALS,
    amount_decimals: int = AMOUNT_DECIMALS,
) -> TradeSeries:
    """A series of trades."""
    return ensure_trade_series(connection, _new_instrument(connection, symbol, price_decimals, amount_decimals))


def new_book_series(connection: Connection, *, price_decimals: int, amount_decimals: int) -> BookSeries:
    """A series of order books."""
    return ensure_book_series(connection, _new_instrument(connection, "COIN/USDT", price_decimals, amount_decimals))


def _new_instrument(connection: Connection, symbol: str, price_decimals: int, amount_decimals: int) -> Instrument:
    exchange = f"{EXCHANGE_PREFIX}{uuid4().hex[:12]}"
    listing = Listing(
        exchange=exchange,
        symbol=symbol,
        base="COIN",
        quote="USDT",
        settle=None,
        kind="spot",
        contract_size=None,
        amount_unit="base",
        trade_unit="base",
        tick_size=None,
        lot_size=None,
        price_decimals=price_decimals,
        amount_decimals=amount_decimals,
        active=True,
        from_sandbox=False,
        raw={},
    )
    sync_listings(connection, exchange, [listing])
    return find_instrument(connection, exchange, symbol)
