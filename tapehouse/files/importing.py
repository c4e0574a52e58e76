"""Import of an understood file: through validation into the store, in batches that are committed with their coverage.

What the file holds is `understanding`, its rows are `rows`. Refreshing what is derived from them afterwards is the
caller's business, as after an ingest.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from tapehouse.candle import BELIEVABLE_MS, CandleBatch, Reject
from tapehouse.files.ahead import one_ahead
from tapehouse.files.opening import open_series
from tapehouse.files.rows import (
    Portion,
    candle_values,
    open_candles,
    portions,
    portions_in_order,
    raw_row,
    trade_columns,
)
from tapehouse.files.understanding import Understanding
from tapehouse.ranges import Substitute, TimeRange, intersect_ranges, merge_ranges, subtract_ranges
from tapehouse.store.batch import WriteResult
from tapehouse.store.candles import write_candles
from tapehouse.store.connection import Connection
from tapehouse.store.instruments import CandleSeries, TradeSeries
from tapehouse.store.retention import require_kept
from tapehouse.store.trades import refuse_other_ids, write_trades
from tapehouse.timeframe import Timeframe, from_ms, to_ms, to_us
from tapehouse.trade import TRADE_SPAN_US
from tapehouse.validate import CandleSplit, TradeSplit, split_candle_columns, split_trade_columns
from tapehouse.validate.conversion import storable
from tapehouse.validate.coverage import ranges_of_candles
from tapehouse.validate.rejection import NOT_A_ROW
from tapehouse.validate.share import refuse_bad_share

_BELIEVABLE: Final = (from_ms(BELIEVABLE_MS.start), from_ms(BELIEVABLE_MS.stop))
S = TypeVar("S", CandleSplit, TradeSplit)

_NO_TIME: Final = (_BELIEVABLE[0], _BELIEVABLE[0])
_TRADE_SPAN: Final = timedelta(microseconds=TRADE_SPAN_US)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did so far: counts of rows."""

    rows: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected: int = 0

    def plus(self, rows: int, *written: WriteResult) -> "ImportResult":
        """The same and one more batch of that many rows."""
        return ImportResult(
            self.rows + rows,
            self.inserted + sum(one.inserted for one in written),
            self.changed + sum(one.changed for one in written),
            self.unchanged + sum(one.unchanged for one in written),
            self.rejected + sum(one.rejected for one in written),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """A portion of a file and the time of which it has all rows, none where it has not."""

    portion: Portion
    whole: list[TimeRange]


@dataclass(frozen=True, slots=True, eq=False)
class _Part(Generic[S]):
    """A portion that was validated; `rows` counts its lines, `rejected` are all of them that are not good."""

    rows: int
    split: S
    rejected: tuple[Reject, ...]
    whole: list[TimeRange]


def import_file(
    connection: Connection,
    file: Understanding,
    *,
    force: bool = False,
    progress: Callable[[ImportResult], None] | None = None,
) -> ImportResult:
    """Write what the file holds; each batch is committed with what it covers before the next.

    Calls `progress` after each with the sum so far. `force` lets rows be stored that the next run of retention
    will drop. Raises InputError, MixedOrigins, BeyondRetention, StoreError, and QualityError after quarantining
    when a batch has too many bad rows.
    """
    series = open_series(connection, file)
    if file.first is not None:
        require_kept(connection, series, file.first, force=force)
    total = ImportResult()
    with closing(_write_parts(connection, file, series)) as parts:
        for rows, written in parts:
            total = total.plus(rows, *written)
            if progress:
                progress(total)
            refuse_bad_share(series, rejected=sum(one.rejected for one in written), rows=rows)
    return total


def _write_parts(
    connection: Connection, file: Understanding, series: CandleSeries | TradeSeries
) -> Generator[tuple[int, list[WriteResult]]]:
    """Write the file part by part, each read and validated while the one before it is written."""
    windows = _windows(file, series)
    match series:
        case CandleSeries():
            split = partial(_split_candles, file, series.timeframe)
            for part in one_ahead(_split(window, split) for window in windows):
                yield part.rows, _write_candles(connection, file, series, part)
        case TradeSeries():
            for part in one_ahead(_split(window, partial(_split_trades, file)) for window in windows):
                yield part.rows, [_write_trades(connection, file, series, part)]


def _windows(file: Understanding, series: CandleSeries | TradeSeries) -> Iterator[_Window]:
    """The portions of the file, each with the time of which it has all."""
    if isinstance(series, CandleSeries) and (file.vouched is None or file.disorder_ms > 0):
        for portion in portions(file):
            yield _Window(portion, [])
        return
    start, end = _reach(file)
    for portion in portions_in_order(file):
        until = end if portion.until_ms is None else min(end, from_ms(int(portion.until_ms)))
        yield _Window(portion, [(start, until)] if start < until else [])
        start = max(start, until)


def _reach(file: Understanding) -> TimeRange:
    """From where to where the file vouches for what is in it, and what is not."""
    if file.vouched:
        return file.vouched[0][0], file.vouched[-1][1]
    if file.vouched is not None or file.first is None or file.last is None:
        return _NO_TIME
    # A trade stands for its millisecond: no other in it is looked for.
    return _millisecond(file.first), _millisecond(file.last) + _TRADE_SPAN


def _split(window: _Window, split: Callable[[Portion], S]) -> _Part[S]:
    portion, outcome = window.portion, split(window.portion)
    misshapen = tuple(Reject(None, (NOT_A_ROW,), storable(line)) for line in portion.misshapen)
    rows = len(portion.times_ms) + len(misshapen)
    return _Part(rows, outcome, (*outcome.rejected, *misshapen), window.whole)


def _split_candles(file: Understanding, timeframe: Timeframe, portion: Portion) -> CandleSplit:
    start, end = _bounds(file, timeframe)
    values, raw_of = candle_values(file, portion), partial(raw_row, file, portion)
    is_open = open_candles(file, portion)
    return split_candle_columns(
        portion.times_ms, values, timeframe, start=start, end=end, raw_of=raw_of, is_open=is_open
    )


def _split_trades(file: Understanding, portion: Portion) -> TradeSplit:
    start, end = _reach(file)
    columns, raw_of = trade_columns(file, portion), partial(raw_row, file, portion)
    return split_trade_columns(columns, start=start, end=end, raw_of=raw_of)


def _write_candles(
    connection: Connection, file: Understanding, series: CandleSeries, part: _Part[CandleSplit]
) -> list[WriteResult]:
    """Write the candles of a part, those from each source by themselves."""
    timeframe, good, (start, end) = series.timeframe, part.split.good, _bounds(file, series.timeframe)
    own = ranges_of_candles(timeframe, good.time_us, start, end)
    lost = [_interval(timeframe, one.time) for one in part.rejected if one.time and start <= one.time < end]
    whole = intersect_ranges(part.whole, file.vouched or ())
    lost += intersect_ranges(whole, file.unplaced)
    empty = intersect_ranges(part.split.covered, whole)
    covered = subtract_ranges([*own, *empty], subtract_ranges(lost, own))
    asked = merge_ranges([*covered, *lost])
    written: list[WriteResult] = []
    for one in _substitutes(file, covered):
        is_of_it, ranges = _is_within(good, one), [(one.start, one.end)]
        batch, good = good.take(is_of_it), good.take(~is_of_it)
        written.append(
            write_candles(connection, series, batch, asked=ranges, covered=ranges, substituted_from=one.source)
        )
        covered, asked = subtract_ranges(covered, ranges), subtract_ranges(asked, ranges)
    return [*written, write_candles(connection, series, good, asked=asked, covered=covered, rejected=part.rejected)]


def _write_trades(
    connection: Connection, file: Understanding, series: TradeSeries, part: _Part[TradeSplit]
) -> WriteResult:
    refuse_other_ids(connection, series, part.split.good)
    asked = intersect_ranges(part.whole, file.vouched or part.whole)
    covered = subtract_ranges(intersect_ranges(part.split.covered, asked), file.unplaced)
    return write_trades(connection, series, part.split.good, asked=asked, covered=covered, rejected=part.rejected)


def _bounds(file: Understanding, timeframe: Timeframe) -> TimeRange:
    """Where candles can be that had closed when the file was written, within the day or month that its name tells."""
    start, end = _reach(file) if file.vouched and file.table.label is None else _BELIEVABLE
    return start, max(start + _TRADE_SPAN, min(end, timeframe.floor(_written_at(file, timeframe))))


def _written_at(file: Understanding, timeframe: Timeframe) -> datetime:
    """When the file was written if that was while its last candle was open; now else, since copies are newer."""
    written_at = datetime.fromtimestamp(file.path.stat().st_mtime, UTC)
    is_open = file.last is not None and file.last <= written_at < timeframe.close(timeframe.floor(file.last))
    return written_at if is_open else datetime.now(UTC)


def _substitutes(file: Understanding, covered: Sequence[TimeRange]) -> list[Substitute]:
    """What of those ranges came from elsewhere than the exchange, by the file's label."""
    told = file.table.label.substituted if file.table.label else ()
    return [
        Substitute(start, end, one.source)
        for one in told
        for start, end in intersect_ranges([(one.start, one.end)], covered)
    ]


def _is_within(batch: CandleBatch, one: Substitute) -> npt.NDArray[np.bool_]:
    return (batch.time_us >= to_us(one.start)) & (batch.time_us < to_us(one.end))


def _interval(timeframe: Timeframe, time: datetime) -> TimeRange:
    opened = timeframe.floor(time)
    return opened, timeframe.close(opened)


def _millisecond(time: datetime) -> datetime:
    return from_ms(to_ms(time))
