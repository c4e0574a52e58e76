"""The quality of a day of trades, and of one of order books."""

from collections.abc import Sequence
from datetime import datetime

from tapehouse.quality.candles import OUTSIDE
from tapehouse.quality.day import DayQuality, Finding, Kind
from tapehouse.quality.facts import DAY, Asked, inside, read_asked, read_bars, read_rejected
from tapehouse.quality.rules import Thresholds, spikes
from tapehouse.query.plan import MINUTE, Read
from tapehouse.ranges import TimeRange, intersect_ranges, subtract_ranges
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.gaps import find_gaps
from tapehouse.store.instruments import BookSeries, TradeSeries, list_any_series
from tapehouse.store.ledger import multirange
from tapehouse.store.sql import query
from tapehouse.timeframe import from_us


def judge_trades(
    connection: Connection, series: TradeSeries, day: datetime, thresholds: Thresholds
) -> DayQuality | None:
    """The quality of the trades of that UTC day; None where none was to be fetched.

    Prices are looked at minute by minute.
    """
    asked = read_asked(connection, series, (day, day + DAY))
    if asked is None:
        return None
    gaps = find_gaps(connection, series, *asked.window)
    outside = [gap.range for gap in gaps if gap.cause in OUTSIDE]
    missing = [gap for gap in gaps if gap.cause not in OUTSIDE]
    expected_s = _seconds([asked.window]) - _seconds(outside)
    if not expected_s:
        return None
    minutes = MINUTE.floor(asked.window[0]), MINUTE.ceil(asked.window[1])
    bars, rows = read_bars(connection, series.instrument.instrument_id, Read("trade", MINUTE, minutes, (minutes,)))
    here = inside(bars, minutes)
    rejected = read_rejected(connection, series, (day, day + DAY))
    scale = 10.0**series.instrument.price_decimals
    outliers = [
        Finding(
            "outlier",
            from_us(int(bars.time_us[place])),
            MINUTE.close(from_us(int(bars.time_us[place]))),
            1,
            f"from {bars.low[place] / scale} to {bars.high[place] / scale}",
        )
        for place in spikes(bars, thresholds).tolist()
        if here.start <= place < here.stop
    ]
    findings = [*(Finding("gap", gap.start, gap.end, None, gap.cause) for gap in missing), *rejected, *outliers]
    return DayQuality(
        exchange=series.instrument.exchange,
        symbol=series.instrument.symbol,
        dataset=series.dataset,
        timeframe=None,
        day=day,
        expected=expected_s,
        known=expected_s - _seconds([gap.range for gap in missing]),
        rows=rows,
        gaps=len(missing),
        rejected=sum(one.count or 0 for one in rejected),
        judged=here.stop - here.start,
        outliers=len(outliers),
        findings=_sorted(findings),
    )


def judge_books(connection: Connection, series: BookSeries, day: datetime, thresholds: Thresholds) -> DayQuality | None:
    """The quality of the snapshots of that UTC day; None where none was sampled before and after.

    Nothing of them can be fetched later, so what is not covered was not sampled, or not in time.
    """
    asked = read_asked(connection, series, (day, day + DAY))
    if asked is None:
        return None
    missing = subtract_ranges([asked.window], asked.covered)
    key = {"instrument_id": series.instrument.instrument_id, "start": asked.window[0], "end": asked.window[1]}
    facts = one_row(connection.execute(query("read_book_facts"), key, prepare=False))
    rows, crossed, locked, cadence_s, longest_s = facts
    rejected = read_rejected(connection, series, (day, day + DAY))
    still = _still(connection, series, asked, thresholds)
    counted: list[tuple[Kind, int, str]] = [
        ("crossed", crossed, "best bid above best ask"),
        ("locked", locked, "best bid equal to best ask"),
    ]
    expected_s = _seconds([asked.window])
    findings = [
        *(Finding("gap", start, end, None, "not_sampled") for start, end in missing),
        *rejected,
        *(Finding(kind, *asked.window, count, detail) for kind, count, detail in counted if count),
        *still,
    ]
    return DayQuality(
        exchange=series.instrument.exchange,
        symbol=series.instrument.symbol,
        dataset=series.dataset,
        timeframe=None,
        day=day,
        expected=expected_s,
        known=expected_s - _seconds(missing),
        rows=rows,
        gaps=len(missing),
        rejected=sum(one.count or 0 for one in rejected),
        judged=rows,
        stale=sum(one.count or 0 for one in still),
        crossed=crossed + locked,
        cadence_s=cadence_s,
        longest_s=longest_s,
        findings=_sorted(findings),
    )


def _still(connection: Connection, series: BookSeries, asked: Asked, thresholds: Thresholds) -> list[Finding]:
    """Where the best prices and amounts stayed the same while trades, all of which are stored, were made."""
    parameters = {
        "instrument_id": series.instrument.instrument_id,
        "start": asked.window[0],
        "end": asked.window[1],
        "covered": multirange(intersect_ranges(asked.covered, _traded_ranges(connection, series, asked.window))),
        "least_s": thresholds.still_book_s,
        "least_trades": thresholds.still_book_trades,
    }
    rows = connection.execute(query("read_still_books"), parameters, prepare=False).fetchall()
    return [
        Finding("stale", start, end, snapshots, f"best prices and amounts unchanged, {trades} trades")
        for start, end, snapshots, trades in rows
    ]


def _traded_ranges(connection: Connection, series: BookSeries, window: TimeRange) -> Sequence[TimeRange]:
    """What of the time is covered of the trades of the same market."""
    for trades in list_any_series(
        connection, ["trade"], exchange=series.instrument.exchange, symbol=series.instrument.symbol
    ):
        asked = read_asked(connection, trades, window)
        return asked.covered if asked else ()
    return ()


def _seconds(ranges: Sequence[TimeRange]) -> float:
    return sum((end - start).total_seconds() for start, end in ranges)


def _sorted(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: (one.start, one.kind)))
