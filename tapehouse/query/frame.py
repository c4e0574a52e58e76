"""DataFrames: candles with what is known of them in `attrs`, and tables of what is stored.

`attrs` holds plain JSON: pandas copies it with every operation, and writes it into Parquet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
_UTC: Final = "datetime64[us, UTC]"
_SERIES_DTYPES: Final = {
    "exchange": "str",
    "symbol": "str",
    "dataset": "str",
    "timeframe": "str",
    "start": _UTC,
    "end": _UTC,
    "covered": "int64",
    "rows": "int64",
    "empty": "int64",
    "gaps": "int64",
    "rejected": "int64",
    "revision": "int64",
    "amount_unit": "str",
    "dropped_before": _UTC,
    "updated_at": _UTC,
}
_INSTRUMENT_DTYPES: Final = {
    "exchange": "str",
    "symbol": "str",
    "base": "str",
    "quote": "str",
    "settle": "str",
    "kind": "str",
    "contract_size": "float64",
    "amount_unit": "str",
    "tick_size": "float64",
    "price_decimals": "int64",
    "amount_decimals": "int64",
    "active": "bool",
    "from_sandbox": "bool",
    "first_seen_at": _UTC,
    "last_seen_at": _UTC,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What a question for candles was about, and when it was answered."""

    exchange: str
    symbol: str
    amount_unit: str
    from_sandbox: bool
    start: datetime
    end: datetime
    as_of: datetime


def candle_frame(question: Question, plan: Plan, candles: Candles, scale: Scale) -> pd.DataFrame:
    """The DataFrame that `MarketData.candles` gives; takes over the candles' memory."""
    values = candles.values
    # Whole ticks over a power of ten give exactly the float64 nearest to the exchange's decimal.
    values[:4] /= 10.0**scale.price_decimals
    values[4] /= 10.0**scale.amount_decimals
    index = pd.DatetimeIndex(candles.time_us.view("datetime64[us]"), name="time").tz_localize("UTC")
    frame = pd.DataFrame(values.T, index=index, columns=_CANDLE_COLUMNS, copy=False)
    frame.attrs.update(_attrs(question, plan, candles))
    return frame


def instruments_frame(instruments: Sequence[Instrument]) -> pd.DataFrame:
    """The DataFrame that `MarketData.instruments` gives."""
    return _typed([[getattr(one, name) for name in _INSTRUMENT_DTYPES] for one in instruments], _INSTRUMENT_DTYPES)


def series_frame(stored: Sequence[StoredSeries]) -> pd.DataFrame:
    """The DataFrame that `MarketData.coverage` gives."""
    return _typed([_series_row(series) for series in stored], _SERIES_DTYPES)


def _series_row(series: StoredSeries) -> dict[str, object]:
    kept = [(max(start, series.dropped_before or start), end) for start, end in series.covered]
    covered = sum(series.timeframe.count(*one) for one in merge_ranges(kept))
    return {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "dataset": series.dataset,
        "timeframe": series.timeframe.name,
        "start": series.covered[0][0] if series.covered else None,
        "end": series.covered[-1][1] if series.covered else None,
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


def _typed(rows: Sequence[Sequence[object] | Mapping[str, object]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    """The rows as columns of those dtypes, which values alone would not give where some or all are missing."""
    frame = pd.DataFrame(rows, columns=pd.Index(dtypes))
    for name in (name for name, dtype in dtypes.items() if dtype == _UTC):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype(dtypes)


def _attrs(question: Question, plan: Plan, candles: Candles) -> dict[str, Any]:
    rows = count_rows(candles.time_us, plan.known)
    known, expected = plan.known_bars, plan.timeframe.count(*plan.window)
    empty = bars_without_row(plan.timeframe, candles.time_us, plan.known, at_most=RANGES_IN_ATTRS + 1)
    ranges = {"covered": plan.covered, "gaps": plan.gaps, "incomplete": plan.incomplete, "empty": empty}
    return {
        "exchange": question.exchange,
        "symbol": question.symbol,
        "timeframe": plan.timeframe.name,
        "amount_unit": question.amount_unit,
        "from_sandbox": question.from_sandbox,
        "start": question.start.isoformat(),
        "end": question.end.isoformat(),
        "as_of": question.as_of.isoformat(),
        "source": plan.source,
        "read_from": list(dict.fromkeys(read.name for read in plan.reads)),
        "revision": plan.revision,
        "candles_expected": expected,
        "candles_empty": known - rows,
        "candles_missing": expected - known,
        **{name: _json_ranges(some) for name, some in ranges.items()},
        "shortened": [name for name, some in ranges.items() if len(some) > RANGES_IN_ATTRS],
        "dropped_before": plan.dropped_before.isoformat() if plan.dropped_before else None,
    }


def _json_ranges(ranges: Sequence[TimeRange]) -> list[list[str]]:
    return [[start.isoformat(), end.isoformat()] for start, end in ranges[:RANGES_IN_ATTRS]]
