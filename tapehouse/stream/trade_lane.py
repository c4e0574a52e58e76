"""Trades as they are streamed: what of them is complete, and where some are missing.

What is claimed as covered is proven: where ids run without holes, by them; elsewhere by one connection having
brought it all. A trade stands for its millisecond, of which more may be on the way: the last one waits.
"""

from math import inf
from typing import Final

from tapehouse.exchange.rows import time_of
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import TradeSeries
from tapehouse.stream.parcel import Hole, Parcel
from tapehouse.timeframe import from_ms, to_ms

# So long after the last trade no other of its millisecond is on the way.
_SETTLED_S: Final = 1.0


class TradeLane:
    """The trades of one market; `known_until_ms` is how far they were known before, None if not at all."""

    def __init__(self, series: TradeSeries, *, counts_trades: bool, known_until_ms: int | None) -> None:
        self.series = series
        self._counts_trades = counts_trades
        self._known_until_ms = known_until_ms
        self._link = 0
        self._last_id: int | None = None
        # Of the present run of trades: up to where it was handed over, and the last millisecond that it has come to.
        self._from_ms = self._last_ms = -1
        self._run: list[tuple[int, object]] = []
        self._settled: list[object] = []
        self._windows: list[TimeRange] = []
        # Milliseconds of which there may be more: ends of runs, and what came late or too early.
        self._unproven: list[TimeRange] = []
        self._open_holes: list[Hole] = []
        self._new_holes: list[Hole] = []
        self._oldest_s: float | None = None
        self.last_told_s = 0.0

    def add(self, row: tuple[object, ...], link: int, now_s: float, *, is_ahead: bool = False) -> int | None:
        """Take in a trade (ms, id, side, price, amount, the trade as received) that came over that connection.

        A time that `is_ahead` of the clock says nothing about what came before it. Gives the millisecond from which on
        nothing is missing, if something may be before it.
        """
        self.last_told_s = now_s
        if self._oldest_s is None:
            self._oldest_s = now_s
        time_ms = time_of(row)
        if time_ms is None:
            # It is for validation to say what is wrong with it.
            self._run.append((self._last_ms, row))
            return None
        trade_id = _number(row[1]) if self._counts_trades else None
        follows = self._follows(trade_id, time_ms, link)
        if not follows and (is_ahead or time_ms < self._reached_ms):
            # No run begins with a time that is wrong, or with what is repeated of the one before.
            self._settle_alone(time_ms, row)
            return None
        if not follows:
            self._begin_run(time_ms)
        self._link = link
        if trade_id is not None:
            self._last_id = max(trade_id, self._last_id or 0) if follows else trade_id
        if is_ahead:
            self._settle_alone(time_ms, row)
        elif time_ms < self._from_ms:
            self._add_late(time_ms, row)
        else:
            self._last_ms = max(self._last_ms, time_ms)
            self._run.append((time_ms, row))
        return None if follows else self._from_ms

    def take(self, now_s: float) -> Parcel | None:
        """Hand over the trades up to the last millisecond, or with it where no more of it can come."""
        if self._last_ms >= 0:
            is_settled = now_s - self.last_told_s > _SETTLED_S
            self._settle(self._last_ms + 1 if is_settled else self._last_ms)
        if not self._windows and not self._unproven:
            return None
        parcel = Parcel(self.series, self._settled, self._windows, self._oldest_s or now_s, self._unproven)
        self._settled, self._windows, self._unproven = [], [], []
        self._oldest_s = now_s if self._run else None
        return parcel

    def take_holes(self) -> list[Hole]:
        """Hand over what was missed since this was last asked."""
        holes, self._new_holes = self._new_holes, []
        return holes

    def fill(self, hole: Hole) -> None:
        """The hole was asked for: what was streamed of its ends is written as well, whatever came of that."""
        self._open_holes.remove(hole)
        for time_ms, row in hole.rows:
            self._settle_alone(time_ms, row)

    def close(self) -> None:
        """No more comes: the last millisecond is handed over as it is, to be asked for again by the next run."""
        for hole in list(self._open_holes):
            self.fill(hole)
        self.last_told_s = -inf

    @property
    def has_holes(self) -> bool:
        """Whether something is missing that is still asked for."""
        return bool(self._open_holes)

    def note_known(self, until_ms: int) -> None:
        """What came before any trade was streamed is known up to there."""
        self._known_until_ms = until_ms

    @property
    def _reached_ms(self) -> int:
        """How far the trades go that came, or were known before any did."""
        return self._last_ms if self._last_ms >= 0 else self._known_until_ms or -1

    def _follows(self, trade_id: int | None, time_ms: int, link: int) -> bool:
        """Whether nothing can be missing between the trade before and this one."""
        if self._last_ms < 0:
            return False
        if trade_id is None or self._last_id is None:
            return link == self._link
        # Ids run with time: a lower one that is later says that they were counted anew, or that one was wrong.
        return trade_id == self._last_id + 1 or (trade_id <= self._last_id and time_ms <= self._last_ms)

    def _begin_run(self, time_ms: int) -> None:
        """Something may be missing up to that millisecond, and of it."""
        start_ms = self._known_until_ms
        if self._last_ms >= 0:
            self._settle(self._last_ms)
            start_ms = self._last_ms
        start_ms = time_ms if start_ms is None else start_ms
        # Rows that tell no time go with those beside them.
        hole = Hole((from_ms(start_ms), from_ms(time_ms + 1)), [(max(one, start_ms), row) for one, row in self._run])
        self._run = []
        self._open_holes.append(hole)
        self._new_holes.append(hole)
        self._from_ms, self._last_ms = time_ms + 1, time_ms

    def _add_late(self, time_ms: int, row: object) -> None:
        for hole in self._open_holes:
            if to_ms(hole.span[0]) <= time_ms < to_ms(hole.span[1]):
                hole.rows.append((time_ms, row))
                return
        self._settle_alone(time_ms, row)

    def _settle_alone(self, time_ms: int, row: object) -> None:
        self._settled.append(row)
        self._unproven.append((from_ms(time_ms), from_ms(time_ms + 1)))

    def _settle(self, until_ms: int) -> None:
        """What the run has before that millisecond is complete."""
        if until_ms <= self._from_ms:
            return
        self._settled += [row for time_ms, row in self._run if time_ms < until_ms]
        self._run = [(time_ms, row) for time_ms, row in self._run if time_ms >= until_ms]
        self._windows.append((from_ms(self._from_ms), from_ms(until_ms)))
        self._from_ms = until_ms


def _number(trade_id: object) -> int | None:
    return int(trade_id) if isinstance(trade_id, str) and trade_id.isdecimal() else None
