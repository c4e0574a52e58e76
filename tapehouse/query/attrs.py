"""What is known of an answer, as plain JSON for a frame's `attrs`.

pandas copies `attrs` with every operation, and writes it into Parquet.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tapehouse.instrument import AmountUnit
from tapehouse.query.ledger import Ledger
from tapehouse.query.plan import Reach, SeriesState
from tapehouse.query.question import Question
from tapehouse.ranges import Substitute, TimeRange

# Long lists would slow all operations on the frame down.
RANGES_IN_ATTRS: Final = 50


def instrument_attrs(question: Question, ledger: Ledger, amount_unit: AmountUnit) -> dict[str, Any]:
    """Whose data they are, what amounts count, and when the answer was given."""
    return {
        "exchange": question.exchange,
        "symbol": question.symbol,
        "amount_unit": amount_unit,
        "from_sandbox": ledger.from_sandbox,
        "as_of": ledger.as_of.isoformat(),
    }


def window_attrs(ledger: Ledger) -> dict[str, Any]:
    """From when to when was asked, as far as that has happened."""
    return {"start": ledger.start.isoformat(), "end": ledger.end.isoformat()}


def reach_attrs(series: SeriesState, reach: Reach, **more: Sequence[TimeRange]) -> dict[str, Any]:
    """What of the window is stored of a series, that series' revision, and more ranges."""
    return {
        "revision": series.revision,
        **ranges_attrs({"covered": reach.covered, "gaps": reach.gaps, **more}),
        "dropped_before": json_time(reach.dropped_before),
    }


def ranges_attrs(ranges: Mapping[str, Sequence[TimeRange | Substitute]]) -> dict[str, Any]:
    """The first ranges of each name, and under `shortened` the names of those that have more."""
    return {
        **{name: json_ranges(some) for name, some in ranges.items()},
        "shortened": [name for name, some in ranges.items() if len(some) > RANGES_IN_ATTRS],
    }


def json_ranges(ranges: Sequence[TimeRange | Substitute]) -> list[list[str]]:
    """The first ranges, as pairs of ISO 8601 times, and where their rows came from if that was not the exchange."""
    return [_json_range(one) for one in ranges[:RANGES_IN_ATTRS]]


def json_time(time: datetime | None) -> str | None:
    """The time in ISO 8601, if there is one."""
    return time.isoformat() if time else None


def _json_range(one: TimeRange | Substitute) -> list[str]:
    if isinstance(one, Substitute):
        return [one.start.isoformat(), one.end.isoformat(), one.source]
    return [time.isoformat() for time in one]
