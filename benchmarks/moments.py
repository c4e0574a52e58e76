"""What a model sees of one moment, read anew, from memory, and moment after moment."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from benchmarks.figure import Figure
from benchmarks.reading import ask_until_remembered
from benchmarks.recent import write_ticks, write_year
from benchmarks.rounds import percentile_s, take_rounds, time_s
from benchmarks.setting import Setting
from tapehouse import MarketData
from tapehouse.instrument import Instrument
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.query.spec import LADDER, LEAST_BARS

_INDICATORS: Final = ("ema_20", "rsi_14", "macd_12_26_9", "atr_14")
_CONTEXT: Final = timedelta(minutes=5)
_STEP: Final = timedelta(seconds=6)
_TRADES_PER_SECOND: Final = 5
# Those of ETH/USDT in the recorded session.
_BUSY_TRADES_PER_SECOND: Final = 22


def inference_cold_p50_ms(setting: Setting) -> Figure:
    """`get_inference_data` of random moments of the last hour."""
    return _cold(setting, "inference_cold_p50_ms", _TRADES_PER_SECOND)


def inference_cold_busy_p50_ms(setting: Setting) -> Figure:
    """The same of a market with more trades."""
    return _cold(setting, "inference_cold_busy_p50_ms", _BUSY_TRADES_PER_SECOND)


def inference_cached_p50_us(setting: Setting) -> Figure:
    """`get_inference_data` of the present."""
    return _cached(setting, "inference_cached_p50_us", lambda _: None)


def inference_cached_frames_p50_us(setting: Setting) -> Figure:
    """The same, and all of its DataFrames made."""
    return _cached(setting, "inference_cached_frames_p50_us", _make_frames)


def inference_cached_arrays_p50_us(setting: Setting) -> Figure:
    """The same, and all of its arrays made."""
    return _cached(setting, "inference_cached_arrays_p50_us", InferenceDataFrame.to_numpy)


def iter_inference_per_s(setting: Setting) -> Figure:
    """`iter_inference_data` of a moment every six seconds of an hour, the latest price of each."""
    return _iterated(setting, "iter_inference_per_s", InferenceDataFrame.get_latest_price)


def iter_inference_arrays_per_s(setting: Setting) -> Figure:
    """The same, all arrays of each."""
    return _iterated(setting, "iter_inference_arrays_per_s", InferenceDataFrame.to_numpy)


@dataclass(frozen=True, slots=True)
class _Store:
    """An instrument with ticks until `end`; moments from `start` on, halfway through them, have all their context."""

    instrument: Instrument
    start: datetime
    end: datetime

    def get(self, market: MarketData, at: datetime | None = None) -> InferenceDataFrame:
        """What was known at a moment, by default now."""
        instrument = self.instrument
        return market.get_inference_data(
            instrument.symbol, exchange=instrument.exchange, timestamp=at, indicators=_INDICATORS
        )

    def random_moments(self, number: int) -> list[datetime]:
        """So many moments, the same each time."""
        shares = np.random.default_rng(7).random(number).tolist()
        return [self.start + share * (self.end - self.start) for share in shares]

    def even_moments(self) -> list[datetime]:
        """A moment each step."""
        return [self.start + number * _STEP for number in range((self.end - self.start) // _STEP)]


@contextmanager
def _stored(setting: Setting, *, trades_per_second: int = _TRADES_PER_SECOND) -> Generator[_Store]:
    with setting.emptied_database() as connection:
        instrument = write_year(connection, setting.sizes)
        start, end = write_ticks(connection, instrument, setting.sizes, trades_per_second=trades_per_second)
        yield _Store(instrument, start + (end - start) / 2, end)


def _cold(setting: Setting, key: str, trades_per_second: int) -> Figure:
    with (
        _stored(setting, trades_per_second=trades_per_second) as store,
        MarketData.connect(setting.url, cache_mb=0) as market,
    ):
        # One by one they take fifty milliseconds each.
        moments = store.random_moments(-(-setting.sizes.calls // 5))
        rounds = take_rounds(
            setting.sizes.rounds,
            lambda: percentile_s(50, lambda at: store.get(market, at), moments),
            lambda: percentile_s(50, lambda at: _read_one_by_one(market, store.instrument, at), moments),
        )
    baseline = "MarketData's candles of seven timeframes, trades, order_book and imbalances, one by one"
    return rounds.as_cost(key, "ms", scale=1000, baseline=baseline, note=f"{trades_per_second} trades a second")


def _cached(setting: Setting, key: str, look: Callable[[InferenceDataFrame], object]) -> Figure:
    with (
        _stored(setting) as store,
        MarketData.connect(setting.url) as market,
        MarketData.connect(setting.url, cache_mb=0) as uncached,
    ):
        ask_until_remembered(market, lambda: store.get(market))
        calls = range(setting.sizes.calls)
        rounds = take_rounds(
            setting.sizes.rounds,
            lambda: percentile_s(50, lambda _: look(store.get(market)), calls),
            lambda: percentile_s(50, lambda _: look(store.get(uncached)), calls),
        )
    return rounds.as_cost(key, "µs", scale=1e6, baseline="the same with cache_mb=0")


def _iterated(setting: Setting, key: str, look: Callable[[InferenceDataFrame], object]) -> Figure:
    with _stored(setting) as store, MarketData.connect(setting.url, cache_mb=0) as market:
        moments = store.even_moments()

        def iterate() -> None:
            exchange, symbol = store.instrument.exchange, store.instrument.symbol
            for _, data in market.iter_inference_data(symbol, moments, exchange=exchange, indicators=_INDICATORS):
                look(data)

        def get_each() -> None:
            for at in moments:
                look(store.get(market, at))

        rounds = take_rounds(setting.sizes.rounds, lambda: time_s(iterate), lambda: time_s(get_each))
    return rounds.as_rate(key, "moments/s", len(moments), baseline="get_inference_data of each")


def _make_frames(data: InferenceDataFrame) -> None:
    book = data.order_book
    assert book is not None
    frames = [*(data.ohlcv(one.name) for one in LADDER), book.levels, data.trades, data.imbalances, data.indicators]
    assert all(len(frame) for frame in frames[1:])


def _read_one_by_one(market: MarketData, instrument: Instrument, at: datetime) -> None:
    """The frames of a moment without its indicators."""
    name = instrument.exchange, instrument.symbol
    market.candles(*name, "1s", at - LEAST_BARS * timedelta(seconds=1), at, source="trades")
    for one in LADDER[1:]:
        market.candles(*name, one.name, at - LEAST_BARS * one.length, at)
    market.trades(*name, at - _CONTEXT, at)
    market.order_book(*name, at)
    market.imbalances(*name, at - _CONTEXT, at)
