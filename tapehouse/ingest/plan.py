"""What to ask the exchange for: wanted minus covered, in chunks, newest first but for what is asked for again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from tapehouse.errors import BeyondRetention
from tapehouse.ranges import TimeRange, intersect_ranges
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries, Series, TradeSeries
from tapehouse.store.ledger import covered_until, dropped_before, missing_ranges
from tapehouse.timeframe import EPOCH, Timeframe, aware_range, from_ms, to_ms

# Exchanges still correct their last candles for a little while; these are asked for again.
TRAILING_CANDLES: Final = 5
# One Prefect task, and at most this many candles to fetch again after a crash of its machine.
CHUNK_CANDLES: Final = 50_000
# A trade may be listed a moment after it was made.
TRAILING_TRADES: Final = timedelta(seconds=10)
CHUNK_TRADES: Final = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """The chunks of a series to ask for, in that order; `wanted` is what was asked of us, in whole candles.

    Before `begins_at`, if that was searched for, the exchange has nothing of the series.
    """

    wanted: TimeRange
    chunks: tuple[TimeRange, ...]
    begins_at: datetime | None = None

    @property
    def seconds(self) -> float:
        """How much of the time line there is to ask for."""
        return sum((end - start).total_seconds() for start, end in self.chunks)


def plan_candles(
    connection: Connection,
    series: CandleSeries,
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    settled_before: datetime = EPOCH,
) -> IngestPlan:
    """Plan the candles that open in [start, end) and have closed by `now`, the exchange's clock.

    The last candles before an end of what is covered are asked for again, but not before `settled_before`.
    Raises ReversedRange, NaiveDatetime, and BeyondRetention where all of it has been dropped.
    """
    aware_range(start, end)
    timeframe = series.timeframe
    first, stop = timeframe.ceil(start), timeframe.floor(min(end, now))
    if stop <= first:
        return IngestPlan((first, first), ())
    _require_kept(connection, series, stop)
    # The last candles of this run, and those that were the last when it was asked before.
    ends = sorted({stop, covered_until(connection, series, stop) or stop})
    first_open_to_change = max(first, settled_before)
    trailing = [
        (max(first, timeframe.shift(end, -TRAILING_CANDLES)), end) for end in ends if end > first_open_to_change
    ]
    missing = missing_ranges(connection, series, (first, stop), trailing=trailing)
    chunks = newest_first_chunks(missing, timeframe, CHUNK_CANDLES)
    return IngestPlan((first, stop), tuple(_trailing_first(chunks, trailing[:1])))


def plan_trades(
    connection: Connection,
    series: TradeSeries,
    start: datetime,
    end: datetime,
    *,
    now: datetime,
    settled_before: datetime = EPOCH,
) -> IngestPlan:
    """Plan the trades of [start, end) that were made before `now`, the exchange's clock.

    The last seconds before what is covered ends are asked for again, but not before `settled_before`.
    Raises as `plan_candles` does.
    """
    aware_range(start, end)
    # As far as an exchange is asked for trades.
    first, stop = start, min(end, from_ms(to_ms(now)))
    if stop <= first:
        return IngestPlan((first, first), ())
    _require_kept(connection, series, stop)
    known_until = covered_until(connection, series, stop) or stop
    is_open_to_change = known_until > max(first, settled_before)
    trailing = [(max(first, known_until - TRAILING_TRADES), known_until)] if is_open_to_change else []
    missing = missing_ranges(connection, series, (first, stop), trailing=trailing)
    return IngestPlan((first, stop), tuple(_trailing_first(_shorter_than(CHUNK_TRADES, missing), trailing)))


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


def _require_kept(connection: Connection, series: Series, stop: datetime) -> None:
    dropped = dropped_before(connection, series)
    if dropped and stop <= dropped:
        raise BeyondRetention(
            f"Retention has dropped what {series} had before {dropped.isoformat()}: ask for what came since."
        )


def _trailing_first(chunks: Sequence[TimeRange], trailing: Sequence[TimeRange]) -> list[TimeRange]:
    """The same chunks, but those with an end that is asked for again come before all others.

    Once something later is covered, nobody would know that the end of before is still to be asked for again.
    """
    return sorted(chunks, key=lambda chunk: not intersect_ranges([chunk], trailing))


def _shorter_than(length: timedelta, ranges: Iterable[TimeRange]) -> list[TimeRange]:
    """The same ranges, newest first, none longer than that."""
    chunks: list[TimeRange] = []
    for start, end in sorted(ranges, reverse=True):
        while end - start > length:
            chunks.append((end - length, end))
            end -= length
        chunks.append((start, end))
    return chunks
