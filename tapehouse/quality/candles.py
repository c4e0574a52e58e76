"""The quality of a day of candles: missing bars, disagreement with trades, prices that stand still or jump."""

import math
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from tapehouse.exchange.habits import habits_of
from tapehouse.quality.day import DayQuality, Finding
from tapehouse.quality.facts import DAY, inside, read_asked, read_bars, read_rejected
from tapehouse.quality.rules import Bars, Thresholds, flat_runs, log_odds_of_run, spikes
from tapehouse.quality.witness import read_move_elsewhere, read_traded
from tapehouse.query.plan import Read
from tapehouse.ranges import TimeRange
from tapehouse.store.agreement import Agreement
from tapehouse.store.connection import Connection
from tapehouse.store.gaps import Gap, find_gaps
from tapehouse.store.instruments import CandleSeries
from tapehouse.timeframe import from_us

# Where the exchange can't have rows, or no longer gives them: nothing of a day's quality is missing there.
OUTSIDE: Final = frozenset(("before_listing", "after_delisting", "beyond_exchange_history"))


def judge_candles(
    connection: Connection, series: CandleSeries, day: datetime, thresholds: Thresholds, agreement: Agreement | None
) -> DayQuality | None:
    """The quality of the bars that open on that UTC day; None where none of them was to be fetched.

    `agreement` is what a comparison of the day's candles with the trades found, where there was one.
    """
    timeframe = series.timeframe
    of_day = timeframe.ceil(day), timeframe.ceil(day + DAY)
    asked = read_asked(connection, series, of_day)
    if asked is None:
        return None
    gaps = find_gaps(connection, series, *asked.window)
    outside = sum(gap.bars or 0 for gap in gaps if gap.cause in OUTSIDE)
    missing = [gap for gap in gaps if gap.cause not in OUTSIDE and not _had_no_trade(connection, series, gap)]
    expected = timeframe.count(*asked.window) - outside
    if not expected:
        return None
    read = Read("ohlcv", timeframe, asked.window, (asked.window,))
    bars, _ = read_bars(connection, series.instrument.instrument_id, read)
    here = inside(bars, asked.window)
    rejected = read_rejected(connection, series, (day, day + DAY))
    stale = list(_stale(connection, series, bars, here, thresholds))
    outliers = list(_outliers(connection, series, bars, here, thresholds))
    findings = [
        *(Finding("gap", gap.start, gap.end, gap.bars, gap.cause) for gap in missing),
        *rejected,
        *_disagreement(agreement),
        *stale,
        *outliers,
    ]
    return DayQuality(
        exchange=series.instrument.exchange,
        symbol=series.instrument.symbol,
        dataset=series.dataset,
        timeframe=timeframe.name,
        day=day,
        expected=expected,
        known=expected - sum(gap.bars or 0 for gap in missing),
        rows=here.stop - here.start,
        gaps=len(missing),
        rejected=sum(one.count or 0 for one in rejected),
        compared=agreement.minutes if agreement else 0,
        differing=agreement.differing if agreement else 0,
        judged=here.stop - here.start,
        stale=sum(one.count or 0 for one in stale),
        outliers=len(outliers),
        findings=tuple(sorted(findings, key=lambda one: (one.start, one.kind))),
    )


def _had_no_trade(connection: Connection, series: CandleSeries, gap: Gap) -> bool:
    """Whether the exchange leaves such bars out by habit, or its trades say that there was nothing to tell of."""
    if gap.cause != "exchange_empty":
        return False
    if habits_of(series.instrument.exchange).leaves_out_empty:
        return True
    traded = read_traded(connection, series, gap.range)
    return traded is not None and traded.count == 0


def _disagreement(agreement: Agreement | None) -> Iterator[Finding]:
    if agreement and agreement.differing:
        detail = f"of {agreement.minutes} minutes; prices at most {agreement.largest_price_gap:.4%} apart"
        yield Finding("disagreement", agreement.day, agreement.day + DAY, agreement.differing, detail)


def _stale(
    connection: Connection, series: CandleSeries, bars: Bars, here: slice, thresholds: Thresholds
) -> Iterator[Finding]:
    """The runs of flat bars that reach into the day, and that were not so in truth."""
    for first, stop in flat_runs(bars, series.timeframe, least=thresholds.stale_bars):
        count = min(stop, here.stop) - max(first, here.start)
        if count <= 0 or not _is_stale(connection, series, bars, first, stop, thresholds):
            continue
        start, end = _span(bars, series, first, stop)
        price = bars.close[first] / 10.0**series.instrument.price_decimals
        yield Finding("stale", start, end, count, f"at {price} throughout")


def _is_stale(
    connection: Connection, series: CandleSeries, bars: Bars, first: int, stop: int, thresholds: Thresholds
) -> bool:
    """Whether trades of that time contradict the run; without them, whether it is unlikely and others moved."""
    span = _span(bars, series, first, stop)
    traded = read_traded(connection, series, span)
    if traded is not None:
        return not traded.was_only_at(float(bars.close[first]))
    if log_odds_of_run(bars, first, stop) > math.log(thresholds.stale_odds):
        return False
    if bars.volume[first:stop].any():
        return True
    return read_move_elsewhere(connection, series, series.timeframe, span) > thresholds.stale_move


def _outliers(
    connection: Connection, series: CandleSeries, bars: Bars, here: slice, thresholds: Thresholds
) -> Iterator[Finding]:
    """The bars of the day that jump away and back, unless trades were made at such prices."""
    for place in spikes(bars, thresholds).tolist():
        if not here.start <= place < here.stop:
            continue
        span = _span(bars, series, place, place + 1)
        low, high = float(bars.low[place]), float(bars.high[place])
        traded = read_traded(connection, series, span)
        if traded is None or not traded.reaches(low, high):
            scale = 10.0**series.instrument.price_decimals
            yield Finding("outlier", *span, 1, f"from {low / scale} to {high / scale}")


def _span(bars: Bars, series: CandleSeries, first: int, stop: int) -> TimeRange:
    """From when to when those bars are."""
    return from_us(int(bars.time_us[first])), series.timeframe.close(from_us(int(bars.time_us[stop - 1])))
