"""All stored series at once: what is known of each, and the ranges that each covers, as columns.

No row of a series is looked at. What is made of it, a table or a chart, is next door.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from psycopg.rows import dict_row

from tapehouse.candle import Int64Array
from tapehouse.query.ledger import NO_TIMEFRAME_S
from tapehouse.query.plan import SECOND
from tapehouse.store.arrays import BytesLoader, received_ranges
from tapehouse.store.connection import Connection
from tapehouse.store.sql import query
from tapehouse.timeframe import Timeframe, timeframe_of_seconds, to_us

# Before all times, and numpy's NaT.
NO_TIME: Final = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True, eq=False)
class Inventory:
    """The stored series, in order, and their covered ranges, in microseconds since 1970 UTC.

    `series` holds what read_stored_series.sql says of each. `start_us` and `end_us` are the ranges of the
    first series, then of the second and so on; `count` says how many each has.
    """

    series: list[dict[str, Any]]
    start_us: Int64Array
    end_us: Int64Array
    count: Int64Array

    def column(self, name: str) -> list[Any]:
        """One value of each series."""
        return [one[name] for one in self.series]

    def has_bars(self) -> npt.NDArray[np.bool_]:
        """Which of the series are candles."""
        return np.array(self.column("timeframe_s"), dtype=np.int64) != NO_TIMEFRAME_S

    def bounds(self) -> tuple[Int64Array, Int64Array]:
        """Where what is covered of each series starts and ends, in microseconds since 1970 UTC; else NO_TIME."""
        start_us, end_us = (np.full(len(self.series), NO_TIME) for _ in range(2))
        last, covers = np.cumsum(self.count) - 1, self.count > 0
        start_us[covers] = self.start_us[(last - self.count + 1)[covers]]
        end_us[covers] = self.end_us[last[covers]]
        return start_us, end_us

    def bars(self) -> Int64Array:
        """How many bars of each series are covered, of trades and order books seconds; from `dropped_before` on."""
        owner = np.repeat(np.arange(len(self.series)), self.count)
        start_us = np.maximum(self.start_us, self._times_us("dropped_before")[owner])
        timeframe_s = np.array(self.column("timeframe_s"), dtype=np.int64)[owner]
        bars = np.zeros(len(owner), dtype=np.int64)
        for seconds in np.unique(timeframe_s).tolist():
            here = timeframe_s == seconds
            bars[here] = _unit(seconds).count_us(start_us[here], self.end_us[here])
        return np.bincount(owner, weights=bars, minlength=len(self.series)).astype(np.int64)

    def gaps(self) -> Int64Array:
        """How many stretches of each series are not covered, between its ranges and out to what was wanted."""
        start_us, end_us = self.bounds()
        from_us = np.maximum.reduce([self._times_us(name) for name in ("wanted_from", "begins_at", "dropped_before")])
        until_us = self._times_us("wanted_until")
        is_open_before = from_us < np.minimum(start_us, until_us)
        is_open_behind = until_us > np.maximum(end_us, from_us)
        return np.maximum(self.count - 1, 0) + is_open_before + is_open_behind

    def _times_us(self, name: str) -> Int64Array:
        """One time of each series, in microseconds since 1970 UTC; else NO_TIME."""
        return np.array([to_us(time) if time else NO_TIME for time in self.column(name)], dtype=np.int64)


def read_inventory(connection: Connection, exchange: str | None, symbol: str | None) -> Inventory:
    """The series of that exchange and symbol, or of all of them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        # Decoded one by one, the ranges of 500 series would take seconds.
        cursor.adapters.register_loader("tstzmultirange", BytesLoader)
        cursor.execute(query("read_stored_series"), {"exchange": exchange, "symbol": symbol}, binary=True)
        series = cursor.fetchall()
    return Inventory(series, *received_ranges([one["covered"] for one in series]))


def _unit(timeframe_s: int) -> Timeframe:
    """What is counted of a series: what has no bars is counted in seconds."""
    return SECOND if timeframe_s == NO_TIMEFRAME_S else timeframe_of_seconds(timeframe_s)
