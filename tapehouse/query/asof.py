"""Candles of several series side by side, as each stood at given times: a join as of time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

import numpy as np
import pandas as pd

from tapehouse.candle import VALUE_COLUMNS, Int64Array
from tapehouse.errors import InputError
from tapehouse.query.frame import MarketFrame, time_index
from tapehouse.query.question import check_market, checked_time, checked_timeframe, each_time
from tapehouse.timeframe import EPOCH, Timeframe, to_us

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class AsofSeries:
    """A series to join: the candles of a symbol."""

    exchange: str
    symbol: str
    timeframe: Timeframe

    @property
    def name(self) -> str:
        """The name of its columns."""
        return f"{self.exchange} {self.symbol} {self.timeframe}"

    def lasts(self, tolerance: timedelta | None) -> timedelta:
        """So long after its close a candle counts, inclusive: until the next one closes, if nothing else is said."""
        return self.timeframe.length - _MICROSECOND if tolerance is None else tolerance

    def since(self, first: datetime, tolerance: timedelta | None) -> datetime:
        """One bar earlier than any that counts at that time or later, so that there is something to ask for."""
        reach = min(self.lasts(tolerance), max(first - EPOCH, timedelta(0))) + 2 * self.timeframe.length
        return first - reach


def asof_series(named: Sequence[tuple[str, str, str]]) -> list[AsofSeries]:
    """The series of those exchanges, symbols and timeframes.

    Raises InputError for none, for one named twice, and for what names none; UnknownTimeframe.
    """
    series = [_one_series(one) for one in named]
    if not series or len(set(series)) < len(series):
        raise InputError("Name the series to join, each once: (exchange, symbol, timeframe), ...")
    return series


def asof_times(times: Iterable[datetime]) -> list[datetime]:
    """The times in UTC; raises NaiveDatetime, or InputError for none."""
    checked = [checked_time(one) for one in each_time(times)]
    if not checked:
        raise InputError("There are no times to join at: pass at least one.")
    return checked


def checked_tolerance(tolerance: timedelta | None) -> timedelta | None:
    """The tolerance; raises InputError unless it is a length of time, or None."""
    is_length = isinstance(tolerance, timedelta | None)  # pyright: ignore[reportUnnecessaryIsInstance] -- notebooks are not type-checked
    if not is_length or (tolerance is not None and tolerance < timedelta(0)):
        raise InputError(f"{tolerance!r} is no tolerance: pass a timedelta that is not negative, or None.")
    return tolerance


def join_asof(
    times: Sequence[datetime], answers: Sequence[tuple[AsofSeries, pd.DataFrame]], tolerance: timedelta | None
) -> MarketFrame:
    """A row a time: of each series, whose candles are given, the last one that had closed by then."""
    times_us = np.array([to_us(one) for one in times], dtype=np.int64)
    columns: dict[tuple[str, str], object] = {}
    for series, candles in answers:
        places, closes_us = _last_closed(times_us, candles, series, tolerance)
        values = candles[list(VALUE_COLUMNS)].to_numpy()
        picked = np.full((len(times_us), len(VALUE_COLUMNS)), np.nan)
        picked[places >= 0] = values[places[places >= 0]]
        for number, name in enumerate(VALUE_COLUMNS):
            columns[series.name, name] = picked[:, number]
        columns[series.name, "close_time"] = pd.DatetimeIndex(closes_us.view("datetime64[us]")).tz_localize("UTC")
    frame = MarketFrame(columns, index=time_index(times_us.copy()))
    frame.attrs.update(series={series.name: candles.attrs for series, candles in answers})
    return frame


def _one_series(named: object) -> AsofSeries:
    if not isinstance(named, tuple | list) or len(cast("Sequence[object]", named)) != 3:
        raise InputError(
            f"{named!r} is no series: pass (exchange, symbol, timeframe), as ('binance', 'BTC/USDT', '1h')."
        )
    exchange, symbol, name = cast("tuple[str, str, str]", named)
    check_market(exchange, symbol)
    return AsofSeries(exchange, symbol, checked_timeframe(name))


def _last_closed(
    times_us: Int64Array, candles: pd.DataFrame, series: AsofSeries, tolerance: timedelta | None
) -> tuple[Int64Array, Int64Array]:
    """For each time the place of the candle and when that closed; -1 and NaT where there is none."""
    index = candles.index
    assert isinstance(index, pd.DatetimeIndex)
    closes_us = series.timeframe.close_us(index.asi8)
    places = np.searchsorted(closes_us, times_us, side="right") - 1
    lasts_us = series.lasts(tolerance) // _MICROSECOND
    known = np.append(closes_us, np.iinfo(np.int64).min)[places]
    counts = (places >= 0) & (times_us - known <= lasts_us)
    return np.where(counts, places, -1), np.where(counts, known, np.datetime64("NaT", "us").view(np.int64))
