"""Bars in whole ticks and lots, and the arithmetic on them: grouping into longer ones, filling empty ones.

How an exchange writes bars down is its dialect's business; where they come from is a history's.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from tapehouse.candle import Float64Array, Int64Array

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Grid:
    """Open times `length_ms` apart, one of which is `origin_ms` (milliseconds since 1970 UTC)."""

    length_ms: int
    origin_ms: int = 0

    def floor(self, time_ms: int) -> int:
        """The open time of the bar that holds `time_ms`."""
        return time_ms - (time_ms - self.origin_ms) % self.length_ms

    def ceil(self, time_ms: int) -> int:
        """The first open time that is not before `time_ms`."""
        return time_ms + (self.origin_ms - time_ms) % self.length_ms


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars in order of their open time; prices in ticks, amounts in lots of their history.

    `turnover` is the sum of price times amount, in ticks times lots, of inverse contracts that of
    amount by price, in lots by ticks; `taker_bought` counts the lots that a buyer took from the book.
    """

    open_ms: Int64Array
    open: Int64Array
    high: Int64Array
    low: Int64Array
    close: Int64Array
    volume: Int64Array
    trades: Int64Array
    turnover: Float64Array
    taker_bought: Int64Array

    def __len__(self) -> int:
        return len(self.open_ms)

    def between(self, start_ms: int, end_ms: int) -> "Bars":
        """The bars that open in [start_ms, end_ms)."""
        first, stop = np.searchsorted(self.open_ms, (start_ms, end_ms))
        return Bars(*(getattr(self, field.name)[first:stop] for field in fields(self)))


def concatenate(parts: list[Bars]) -> Bars:
    """The bars of all parts, in the order given."""
    return Bars(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Bars)))


def regroup(bars: Bars, grid: Grid) -> Bars:
    """The bars grouped into those of a coarser grid; a group without bars gives none."""
    if not len(bars):
        return bars
    opened = bars.open_ms - (bars.open_ms - grid.origin_ms) % grid.length_ms
    first = np.flatnonzero(np.diff(opened, prepend=opened[0] - 1))
    last = np.append(first[1:], len(opened)) - 1
    return Bars(
        opened[first],
        bars.open[first],
        np.maximum.reduceat(bars.high, first),
        np.minimum.reduceat(bars.low, first),
        bars.close[last],
        np.add.reduceat(bars.volume, first),
        np.add.reduceat(bars.trades, first),
        np.add.reduceat(bars.turnover, first),
        np.add.reduceat(bars.taker_bought, first),
    )


def fill(bars: Bars, grid: Grid, start_ms: int, end_ms: int, *, previous_close: int | None) -> Bars:
    """Every bar that opens in [start_ms, end_ms); an empty one holds the close before it and no volume.

    Without a previous close the bars begin with the first that has a trade.
    """
    if previous_close is None:
        if not len(bars):
            return bars
        start_ms = int(bars.open_ms[0])
    opened = np.arange(start_ms, end_ms, grid.length_ms, dtype=np.int64)
    place = (bars.open_ms - start_ms) // grid.length_ms
    source = np.full(len(opened), -1, dtype=np.int64)
    source[place] = np.arange(len(bars))
    latest = np.maximum.accumulate(source)
    # Index -1 of the extended closes is the close before the first bar.
    carried = np.append(bars.close, previous_close if previous_close is not None else 0)[latest]
    empty = source < 0

    def spread(values: Int64Array) -> Int64Array:
        filled = np.zeros(len(opened), dtype=values.dtype)
        filled[place] = values
        return filled

    def priced(values: Int64Array) -> Int64Array:
        return np.where(empty, carried, spread(values))

    turnover = np.zeros(len(opened))
    turnover[place] = bars.turnover
    return Bars(
        opened,
        priced(bars.open),
        priced(bars.high),
        priced(bars.low),
        priced(bars.close),
        spread(bars.volume),
        spread(bars.trades),
        turnover,
        spread(bars.taker_bought),
    )
