"""Candles as they are streamed: each state of the open one, which is whole once the next has begun.

A candle counts if the connection that brought its last state has also brought the next one: else that state may
not have been the last.
"""

from tapehouse.exchange.rows import time_of
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import CandleSeries
from tapehouse.stream.parcel import Hole, Parcel
from tapehouse.timeframe import from_ms, to_ms


class CandleLane:
    """The candles of one market; `known_until_ms` is how far they were known before, None if not at all."""

    def __init__(self, series: CandleSeries, *, known_until_ms: int | None) -> None:
        self.series = series
        self._known_until_ms = known_until_ms
        self._link = 0
        self._open_ms = self._doubted_ms = -1
        self._open: tuple[object, ...] = ()
        self._settled: list[object] = []
        self._windows: list[TimeRange] = []
        self._new_holes: list[Hole] = []
        self._oldest_s: float | None = None
        self.last_told_s = 0.0

    def add(
        self, row: tuple[object, ...], link: int, now_s: float, *, is_ahead: bool = False
    ) -> tuple[tuple[object, ...] | None, int | None]:
        """Take in a state of a candle (ms, open, high, low, close, volume); one whose time `is_ahead` twice at least.

        Gives the candle that is whole by it, and the millisecond from which on nothing is missing, if something may
        be before it.
        """
        self.last_told_s = now_s
        time_ms = time_of(row)
        if time_ms is None:
            self._settled.append(row)
            return None, None
        if time_ms < self._open_ms:
            return None, None
        if is_ahead and time_ms not in (self._open_ms, self._doubted_ms):
            # A single wrong time would close the candle too early, and all until then would be missed.
            self._doubted_ms = time_ms
            return None, None
        whole = since_ms = None
        if time_ms > self._open_ms:
            holes = len(self._new_holes)
            whole = self._close(time_ms, link, now_s)
            since_ms = time_ms if whole is None or len(self._new_holes) > holes else None
        self._open_ms, self._open, self._link = time_ms, row, link
        return whole, since_ms

    def take(self, now_s: float) -> Parcel | None:
        """Hand over the candles that are whole."""
        if not self._windows:
            return None
        parcel = Parcel(self.series, self._settled, self._windows, self._oldest_s or now_s)
        self._settled, self._windows, self._oldest_s = [], [], None
        return parcel

    def take_holes(self) -> list[Hole]:
        """Hand over what was missed since this was last asked."""
        holes, self._new_holes = self._new_holes, []
        return holes

    def fill(self, hole: Hole) -> None:
        """Nothing waits for that."""

    def close(self) -> None:
        """Nothing waits for that either: nobody knows whether the open candle is whole."""

    def note_known(self, until_ms: int) -> None:
        """What came before any candle was streamed is known up to there."""
        self._known_until_ms = until_ms

    def _close(self, next_ms: int, link: int, now_s: float) -> tuple[object, ...] | None:
        """The open candle has closed, for another has begun."""
        if self._open_ms < 0:
            self._miss(self._known_until_ms, next_ms)
            return None
        if link != self._link:
            self._miss(self._open_ms, next_ms)
            return None
        opened = from_ms(self._open_ms)
        closed = self.series.timeframe.close(opened)
        self._settled.append(self._open)
        self._windows.append((opened, closed))
        self._oldest_s = self._oldest_s or now_s
        self._miss(to_ms(closed), next_ms)
        return self._open

    def _miss(self, start_ms: int | None, end_ms: int) -> None:
        if start_ms is not None and start_ms < end_ms:
            self._new_holes.append(Hole((from_ms(start_ms), from_ms(end_ms))))
