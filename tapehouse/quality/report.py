"""The report: every day of every series is judged, kept, and set beside the day before."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from tapehouse.quality.candles import judge_candles
from tapehouse.quality.day import DayQuality, ReportedDay
from tapehouse.quality.facts import DAY
from tapehouse.quality.rules import Thresholds
from tapehouse.quality.stored import keep_quality, read_quality
from tapehouse.quality.ticks import judge_books, judge_trades
from tapehouse.store.agreement import Agreement, compare_candles
from tapehouse.store.connection import Connection, snapshot, store_errors
from tapehouse.store.instruments import (
    BookSeries,
    CandleSeries,
    Dataset,
    TradeSeries,
    list_any_series,
)
from tapehouse.store.rollups import BASE_TIMEFRAME
from tapehouse.timeframe import Timeframe, aware_range, timeframe

_UTC_DAY: Final = timeframe("1d")
_ALL: Final[tuple[Dataset, ...]] = ("ohlcv", "trade", "order_book")

AnySeries = CandleSeries | TradeSeries | BookSeries


def report_quality(
    connection: Connection,
    *,
    exchange: str | None = None,
    symbol: str | None = None,
    dataset: Dataset | None = None,
    timeframe: Timeframe | None = None,
    start: datetime,
    end: datetime,
    thresholds: Thresholds | None = None,
) -> list[ReportedDay]:
    """Judge all UTC days that [start, end) touches, of the series that fit all that is given, and keep the outcome.

    Gives them by series and day; days of which nothing of a series was to be fetched are left out, and the day
    that is not over counts as far as it was. Minutes of which 1m candles and trades were fetched are compared
    first. One day is in memory at a time. Raises NaiveDatetime, ReversedRange and StoreError.
    """
    start, end = aware_range(start, end)
    days = (_UTC_DAY.floor(start), _UTC_DAY.ceil(end))
    found = list_any_series(
        connection, [dataset] if dataset else _ALL, exchange=exchange, symbol=symbol, timeframe=timeframe
    )
    return [day for series in found for day in _report_series(connection, series, days, thresholds or Thresholds())]


def _report_series(
    connection: Connection, series: AnySeries, days: tuple[datetime, datetime], thresholds: Thresholds
) -> list[ReportedDay]:
    first, stop = days
    agreements = _compare(connection, series, first, stop)
    stored = read_quality(connection, series=series, start=first - DAY, end=first)
    before = stored[0] if stored else None
    reported: list[ReportedDay] = []
    for number in range(_UTC_DAY.count(first, stop)):
        day = _UTC_DAY.shift(first, number)
        # What is written meanwhile would look like faults that never were.
        with store_errors(), snapshot(connection):
            quality = _judge(connection, series, day, thresholds, agreements)
        if quality is not None:
            keep_quality(connection, series, quality)
            reported.append(ReportedDay(quality, before, is_over=day + DAY <= datetime.now(UTC)))
        before = quality
    return reported


def _judge(
    connection: Connection,
    series: AnySeries,
    day: datetime,
    thresholds: Thresholds,
    agreements: Mapping[datetime, Agreement],
) -> DayQuality | None:
    if isinstance(series, CandleSeries):
        return judge_candles(connection, series, day, thresholds, agreements.get(day))
    if isinstance(series, TradeSeries):
        return judge_trades(connection, series, day, thresholds)
    return judge_books(connection, series, day, thresholds)


def _compare(connection: Connection, series: AnySeries, start: datetime, end: datetime) -> dict[datetime, Agreement]:
    """How the 1m candles of each day agree with the trades, by day."""
    if not isinstance(series, CandleSeries) or series.timeframe != BASE_TIMEFRAME:
        return {}
    market = series.instrument
    found: Sequence[Agreement] = compare_candles(
        connection, exchange=market.exchange, symbol=market.symbol, start=start, end=end
    )
    return {one.day: one for one in found}
