"""What to ask the exchange for: wanted minus covered, in chunks, newest first."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tapehouse.errors import BeyondRetention
from tapehouse.ranges import TimeRange
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import Series
from tapehouse.store.ledger import covered_until, dropped_before, missing_ranges
from tapehouse.timeframe import Timeframe, aware_range

# Exchanges still correct their last candles for a little while; these are asked for again.
TRAILING_CANDLES: Final = 5
# One Prefect task, and at most this many candles to fetch again after a crash of its machine.
CHUNK_CANDLES: Final = 50_000


@dataclass(frozen=True, slots=True)
class CandlePlan:
    """The chunks of a series to ask for, newest first; `wanted` is what was asked of us, in whole candles."""

    wanted: TimeRange
    chunks: tuple[TimeRange, ...]


def plan_candles(
    connection: Connection, series: Series, start: datetime, end: datetime, *, now: datetime
) -> CandlePlan:
    """Plan the candles that open in [start, end) and have closed by `now`, the exchange's clock.

    Raises ReversedRange, NaiveDatetime, and BeyondRetention where all of it has been dropped.
    """
    aware_range(start, end)
    first, stop = series.timeframe.ceil(start), series.timeframe.floor(min(end, now))
    if stop <= first:
        return CandlePlan((first, first), ())
    dropped = dropped_before(connection, series)
    if dropped and stop <= dropped:
        raise BeyondRetention(
            f"Retention has dropped what {series} had before {dropped.isoformat()}: ask for candles from there on."
        )
    # The last candles of this run, and those that were the last when it was asked before.
    ends = {stop, covered_until(connection, series, stop) or stop}
    trailing = [(max(first, series.timeframe.shift(end, -TRAILING_CANDLES)), end) for end in ends if end > first]
    missing = missing_ranges(connection, series, (first, stop), trailing=trailing)
    return CandlePlan((first, stop), tuple(newest_first_chunks(missing, series.timeframe, CHUNK_CANDLES)))


def newest_first_chunks(ranges: Iterable[TimeRange], timeframe: Timeframe, candles: int) -> list[TimeRange]:
    """The same ranges, newest first, none longer than that many candles."""
    chunks: list[TimeRange] = []
    for start, end in sorted(ranges, reverse=True):
        while timeframe.count(start, end) > candles:
            chunk_start = timeframe.shift(timeframe.ceil(end), -candles)
            chunks.append((chunk_start, end))
            end = chunk_start
        chunks.append((start, end))
    return chunks
