"""DataFrames: candles with what is known of them in `attrs`, and tables of what is stored.

`attrs` holds plain JSON: pandas copies it with every operation, and writes it into Parquet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

import pandas as pd

from tapehouse.candle import VALUE_COLUMNS
from tapehouse.instrument import Instrument
from tapehouse.query.decode import Candles
from tapehouse.query.ledger import StoredSeries
from tapehouse.query.plan import Plan
from tapehouse.query.resample import bars_without_row, count_rows
from tapehouse.ranges import TimeRange, merge_ranges
from tapehouse.store.ticks import Scale

# pandas copies attrs with every operation, so long lists would slow all of them down.
RANGES_IN_ATTRS: Final = 50
_CANDLE_COLUMNS: Final = pd.Index(VALUE_COLUMNS)
_SERIES_COLUMNS: Final = (
    "exchange",
    "symbol",
    "dataset",
    "timeframe",
    "first",
    "last",
    "covered",
    "rows",
    "empty",
    "gaps",
    "rejected",
    "revision",
    "amount_unit",
    "dropped_before",
    "updated_at",
)
_INSTRUMENT_COLUMNS: Final = tuple(field.name for field in fields(Instrument) if field.name != "instrument_id")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question for candles was about, and when it was answered."""

    exchange: str
    symbol: str
    amount_unit: str
    from_sandbox: bool
    start: datetime
    end: datetime
    as_of: datetime


def candle_frame(asked: Asked, plan: Plan, candles: Candles, scale: Scale) -> pd.DataFrame:
    """The DataFrame that `MarketData.candles` gives; takes over the candles' memory."""
    values = candles.values
    # Whole ticks over a power of ten give exactly the float64 nearest to the exchange's decimal.
    values[:4] /= 10.0**scale.price_decimals
    values[4] /= 10.0**scale.amount_decimals
    index = pd.DatetimeIndex(candles.time_us.view("datetime64[us]"), name="time").tz_localize("UTC")
    frame = pd.DataFrame(values.T, index=index, columns=_CANDLE_COLUMNS, copy=False)
    frame.attrs.update(_attrs(asked, plan, candles))
    return frame


def instruments_frame(instruments: Sequence[Instrument]) -> pd.DataFrame:
    """The DataFrame that `MarketData.instruments` gives."""
    rows = [[getattr(instrument, name) for name in _INSTRUMENT_COLUMNS] for instrument in instruments]
    return _with_times(pd.DataFrame(rows, columns=pd.Index(_INSTRUMENT_COLUMNS)), "first_seen_at", "last_seen_at")


def series_frame(stored: Sequence[StoredSeries]) -> pd.DataFrame:
    """The DataFrame that `MarketData.coverage` gives."""
    rows = [_series_row(series) for series in stored]
    return _with_times(
        pd.DataFrame(rows, columns=pd.Index(_SERIES_COLUMNS)), "first", "last", "dropped_before", "updated_at"
    )


def _series_row(series: StoredSeries) -> dict[str, object]:
    kept = [(max(start, series.dropped_before or start), end) for start, end in series.covered]
    covered = sum(series.timeframe.count(*one) for one in merge_ranges(kept))
    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "dataset": series.dataset,
        "timeframe": series.timeframe.name,
        "first": series.covered[0][0] if series.covered else None,
        "last": series.covered[-1][1] if series.covered else None,
        "covered": covered,
        "rows": series.rows,
        "empty": covered - series.rows,
        "gaps": max(0, len(series.covered) - 1),
        "rejected": series.rejected,
        "revision": series.revision,
        "amount_unit": series.amount_unit,
        "dropped_before": series.dropped_before,
        "updated_at": series.updated_at,
    }


def _with_times(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    for column in columns:
        frame[column] = pd.to_datetime(frame[column], utc=True).astype("datetime64[us, UTC]")
    return frame


def _attrs(asked: Asked, plan: Plan, candles: Candles) -> dict[str, Any]:
    rows = count_rows(candles.time_us, plan.known)
    known, expected = plan.known_bars, plan.timeframe.count(*plan.window)
    empty = bars_without_row(plan.timeframe, candles.time_us, plan.known, at_most=RANGES_IN_ATTRS + 1)
    ranges = {"covered": plan.covered, "gaps": plan.gaps, "incomplete": plan.incomplete, "empty": empty}
    return {
        "exchange": asked.exchange,
        "symbol": asked.symbol,
        "timeframe": plan.timeframe.name,
        "amount_unit": asked.amount_unit,
        "from_sandbox": asked.from_sandbox,
        "start": asked.start.isoformat(),
        "end": asked.end.isoformat(),
        "as_of": asked.as_of.isoformat(),
        "source": plan.source,
        "read_from": list(dict.fromkeys(read.name for read in plan.reads)),
        "revision": plan.revision,
        "bars_expected": expected,
        "bars_empty": known - rows,
        "bars_missing": expected - known,
        **{name: _json_ranges(some) for name, some in ranges.items()},
        "shortened": [name for name, some in ranges.items() if len(some) > RANGES_IN_ATTRS],
        "dropped_before": plan.dropped_before.isoformat() if plan.dropped_before else None,
    }


def _json_ranges(ranges: Sequence[TimeRange]) -> list[list[str]]:
    return [[start.isoformat(), end.isoformat()] for start, end in ranges[:RANGES_IN_ATTRS]]
