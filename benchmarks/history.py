"""Candles, trades and order books to write and read: made-up ones, in batches.

Recorded ones are `recordings`.
"""

from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from benchmarks.series import AMOUNT_DECIMALS, PRICE_DECIMALS
from tapehouse.book import BookBatch
from tapehouse.candle import CandleBatch, Float64Array
from tapehouse.ranges import TimeRange
from tapehouse.store.batch import Batch
from tapehouse.store.books import write_books
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import BookSeries, CandleSeries, TradeSeries
from tapehouse.store.trades import write_trades
from tapehouse.timeframe import from_us, to_us
from tapehouse.trade import BOUGHT, SOLD, TRADE_SPAN_US, TradeBatch

START: Final = datetime(2024, 1, 1, tzinfo=UTC)

B = TypeVar("B", bound=Batch)

_BATCH_ROWS: Final = 50_000
_SECOND_US: Final = 1_000_000
_MINUTE_US: Final = 60 * _SECOND_US


def made_up_candles(number: int, *, start: datetime = START, seed: int = 7) -> CandleBatch:
    """That many 1m candles from then on: a random walk in cents, volumes in thousandths."""
    random = np.random.default_rng(seed)
    close = 6_000_000 + np.cumsum(random.integers(-1000, 1001, number))
    opened = np.concatenate(([6_000_000], close))[:number]
    high = np.maximum(opened, close) + random.integers(0, 500, number)
    low = np.minimum(opened, close) - random.integers(0, 500, number)
    volume = np.rint(random.lognormal(9, 1, number))
    return CandleBatch(
        time_us=to_us(start) + _MINUTE_US * np.arange(number),
        open=_prices(opened),
        high=_prices(high),
        low=_prices(low),
        close=_prices(close),
        volume=_amounts(volume),
    )


def made_up_trades(number: int, *, start: datetime = START, per_second: int = 30, seed: int = 7) -> TradeBatch:
    """That many trades from then on: times in whole milliseconds, ids counted, prices in cents."""
    random = np.random.default_rng(seed)
    times_ms = np.sort(random.integers(0, 1 + 1000 * number // per_second, number))
    return TradeBatch(
        time_us=to_us(start) + 1000 * times_ms,
        trade_id=3_735_683_259 + np.arange(number),
        id_text=np.zeros(number, dtype="<U1"),
        price=_prices(6_000_000 + np.cumsum(random.integers(-3, 4, number))),
        amount=_amounts(np.rint(random.lognormal(4, 2, number)) + 1),
        side=random.choice(np.array([BOUGHT, SOLD], dtype=np.int16), number),
    )


def made_up_books(number: int, *, start: datetime = START, levels: int = 20, seed: int = 7) -> BookBatch:
    """That many snapshots from then on, one a second: prices a few cents apart, amounts in thousandths."""
    random = np.random.default_rng(seed)
    time_us = to_us(start) + _SECOND_US * np.arange(number)
    best_bid = 6_000_000 + np.cumsum(random.integers(-100, 101, number))
    bid_steps, ask_steps = (np.cumsum(random.integers(1, 10, (number, levels)), axis=1) for _ in range(2))
    bid_amount, ask_amount = (np.rint(random.lognormal(5, 2, number * levels)) + 1 for _ in range(2))
    count = np.full(number, levels)
    return BookBatch(
        time_us=time_us,
        received_us=time_us + random.integers(1_000, 100_000, number),
        nonce=50_093_239_218 + 10 * np.arange(number),
        bid_count=count,
        ask_count=count,
        bid_price=_prices((best_bid[:, np.newaxis] - bid_steps).ravel()),
        bid_amount=_amounts(bid_amount),
        ask_price=_prices((best_bid[:, np.newaxis] + ask_steps).ravel()),
        ask_amount=_amounts(ask_amount),
    )


def in_batches(batch: B, size: int) -> list[B]:
    """The same rows in batches of that many."""
    position = np.arange(len(batch)) // size
    return [batch.take(position == number) for number in range(-(-len(batch) // size))]


def span_of_candles(candles: CandleBatch) -> TimeRange:
    """From the first 1m candle's open to the last one's close."""
    return from_us(int(candles.time_us[0])), from_us(int(candles.time_us[-1]) + _MINUTE_US)


def span_of_trades(trades: TradeBatch) -> TimeRange:
    """From the first trade to the end of the last one's millisecond."""
    return from_us(int(trades.time_us[0])), from_us(int(trades.time_us[-1]) + TRADE_SPAN_US)


def write_candle_history(connection: Connection, series: CandleSeries, candles: CandleBatch) -> TimeRange:
    """Write all of the candles, and what they cover; returns their span."""
    for batch in in_batches(candles, _BATCH_ROWS):
        span = [span_of_candles(batch)]
        write_candles(connection, series, batch, asked=span, covered=span)
    return span_of_candles(candles)


def write_trade_history(connection: Connection, series: TradeSeries, trades: TradeBatch) -> TimeRange:
    """Write all of the trades, and what they cover; returns their span."""
    for batch in in_batches(trades, _BATCH_ROWS):
        span = [span_of_trades(batch)]
        write_trades(connection, series, batch, asked=span, covered=span)
    return span_of_trades(trades)


def write_book_history(connection: Connection, series: BookSeries, books: BookBatch) -> TimeRange:
    """Write all of the snapshots, one a second, and the seconds that they cover; returns their span."""
    span = from_us(int(books.time_us[0])), from_us(int(books.time_us[-1]) + _SECOND_US)
    write_books(connection, series, books, asked=[span], covered=[span])
    return span


def _prices(ticks: npt.NDArray[Any]) -> Float64Array:
    return ticks / 10.0**PRICE_DECIMALS


def _amounts(lots: npt.NDArray[Any]) -> Float64Array:
    return lots / 10.0**AMOUNT_DECIMALS
