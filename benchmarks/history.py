"""Candles to write and read: made-up ones, and series that nothing else uses."""

from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import numpy as np

from benchmarks.setting import EXCHANGE_PREFIX
from tapehouse.candle import CandleBatch
from tapehouse.instrument import Listing
from tapehouse.ranges import TimeRange
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import Series, ensure_series, find_instrument, sync_listings
from tapehouse.timeframe import from_us, timeframe, to_us

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
PRICE_DECIMALS: Final = 2
AMOUNT_DECIMALS: Final = 3

_BATCH_CANDLES: Final = 50_000


def made_up_candles(number: int, *, seed: int = 7) -> CandleBatch:
    """That many 1m candles from START on: a random walk in cents, volumes in thousandths."""
    random = np.random.default_rng(seed)
    close = 6_000_000 + np.cumsum(random.integers(-1000, 1001, number))
    opened = np.concatenate(([6_000_000], close))[:number]
    high = np.maximum(opened, close) + random.integers(0, 500, number)
    low = np.minimum(opened, close) - random.integers(0, 500, number)
    volume = np.rint(random.lognormal(9, 1, number))
    price_scale, amount_scale = 10.0**PRICE_DECIMALS, 10.0**AMOUNT_DECIMALS
    return CandleBatch(
        time_us=to_us(START) + 60_000_000 * np.arange(number),
        open=opened / price_scale,
        high=high / price_scale,
        low=low / price_scale,
        close=close / price_scale,
        volume=volume / amount_scale,
    )


def in_batches(candles: CandleBatch, size: int) -> list[CandleBatch]:
    """The same candles in batches of that many."""
    position = np.arange(len(candles)) // size
    return [candles.take(position == number) for number in range(-(-len(candles) // size))]


def span_of(candles: CandleBatch) -> TimeRange:
    """From the first 1m candle's open to the last one's close."""
    return from_us(int(candles.time_us[0])), from_us(int(candles.time_us[-1]) + 60_000_000)


def write_history(connection: Connection, series: Series, candles: CandleBatch) -> TimeRange:
    """Write all of the candles, and what they cover; returns their span."""
    for batch in in_batches(candles, _BATCH_CANDLES):
        span = [span_of(batch)]
        write_candles(connection, series, batch, asked=span, covered=span)
    return span_of(candles)


def new_series(
    connection: Connection,
    *,
    symbol: str = "COIN/USDT",
    price_decimals: int = PRICE_DECIMALS,
    amount_decimals: int = AMOUNT_DECIMALS,
) -> Series:
    """A 1m series of an instrument and an exchange of its own."""
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
        tick_size=None,
        price_decimals=price_decimals,
        amount_decimals=amount_decimals,
        active=True,
        from_sandbox=False,
        raw={},
    )
    sync_listings(connection, exchange, [listing])
    return ensure_series(connection, find_instrument(connection, exchange, symbol), timeframe("1m"))
