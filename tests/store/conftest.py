"""Fixtures of the store's tests: a migrated database, and series that no other test uses."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from tapehouse.candle import CandleBatch
from tapehouse.instrument import Instrument
from tapehouse.store.connection import Connection, connect
from tapehouse.store.instruments import (
    BookSeries,
    CandleSeries,
    TradeSeries,
    ensure_book_series,
    ensure_candle_series,
    ensure_trade_series,
)
from tapehouse.timeframe import timeframe, to_us
from tests.listings import stored_instrument

InstrumentFactory = Callable[..., Instrument]
SeriesFactory = Callable[..., CandleSeries]
TradeSeriesFactory = Callable[..., TradeSeries]
BookSeriesFactory = Callable[..., BookSeries]


@pytest.fixture
def connection(store_url: str) -> Iterator[Connection]:
    with connect(store_url) as connection:
        yield connection


@pytest.fixture
def make_instrument(connection: Connection) -> InstrumentFactory:
    """An instrument of an exchange of its own."""

    def make(**said: Any) -> Instrument:
        return stored_instrument(connection, **said)

    return make


@pytest.fixture
def make_series(connection: Connection, make_instrument: InstrumentFactory) -> SeriesFactory:
    """A candle series of an exchange of its own."""

    def make(timeframe_name: str = "1m", **scale: int) -> CandleSeries:
        return ensure_candle_series(connection, make_instrument(**scale), timeframe(timeframe_name))

    return make


@pytest.fixture
def make_trade_series(connection: Connection, make_instrument: InstrumentFactory) -> TradeSeriesFactory:
    """The trades of an exchange of its own."""

    def make(**scale: int) -> TradeSeries:
        return ensure_trade_series(connection, make_instrument(**scale))

    return make


@pytest.fixture
def make_book_series(connection: Connection, make_instrument: InstrumentFactory) -> BookSeriesFactory:
    """The order books of an exchange of its own."""

    def make(**scale: int) -> BookSeries:
        return ensure_book_series(connection, make_instrument(**scale))

    return make


def candles(start: datetime, closes: list[float], *, volume: float = 1.5, step_s: int = 60) -> CandleBatch:
    """Candles one after another, each opening at its close minus 1, with room above and below."""
    close = np.array(closes, dtype=np.float64)
    times = to_us(start) + step_s * 1_000_000 * np.arange(len(closes))
    return CandleBatch(times, close - 1, close + 2, close - 2, close, np.full(len(closes), volume))
