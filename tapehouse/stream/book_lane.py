"""Order books as they are streamed: of the book that is kept up a snapshot at every tick at which it has changed.

A tick is a whole multiple of the interval by the exchange's clock, and its snapshot the first state of the book from
then on. Where the book did not change over some ticks, the snapshot before them still holds: that nothing was missed
between is proven by the exchange's own numbers and checksums, or by one connection having brought it all.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Final

from tapehouse.book import BookSample
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import BookSeries
from tapehouse.stream.parcel import Hole, Parcel
from tapehouse.timeframe import from_us, to_us

# A book that was asked for, as the first often is, may tell no time where all others do. After so many in a row none
# will, and the exchange's clock has to do.
_MOST_UNTOLD: Final = 5


class BookLane:
    """The order book of one market, sampled every so often, `depth` levels a side."""

    def __init__(self, series: BookSeries, *, depth: int, every: timedelta) -> None:
        self.series = series
        self._depth = depth
        self._every_us = every // timedelta(microseconds=1)
        self._link: int = 0
        self._tick: int = -1
        # States in a row that told no time, as long as none did.
        self._untold = 0.0
        self._samples: list[BookSample] = []
        self._windows: list[TimeRange] = []
        self._oldest_s: float | None = None
        self.last_told_s = 0.0
        self.coalesced = 0

    def add(
        self, book: Mapping[str, Any], link: int, now_s: float, *, clock: datetime
    ) -> tuple[BookSample | None, int | None]:
        """Take in a state of the book that came over that connection; `clock` is the time by the exchange's clock.

        Gives the snapshot if one was due, and its time in microseconds if something may be missing before it.
        """
        self.last_told_s = now_s
        told_ms = book["timestamp"]
        self._untold = self._untold + 1 if told_ms is None else -inf
        if told_ms is None and self._untold <= _MOST_UNTOLD:
            return None, None
        time_us = to_us(clock) if told_ms is None else told_ms * 1000
        tick = time_us // self._every_us
        if tick <= self._tick and link == self._link:
            return None, None
        is_cut = link != self._link
        first_tick = tick if is_cut else self._tick + 1
        self._tick, self._link = tick, link
        sample = self._sample(book, clock)
        self._samples.append(sample)
        self._windows.append((from_us(first_tick * self._every_us), from_us((tick + 1) * self._every_us)))
        self._oldest_s = self._oldest_s or now_s
        return sample, time_us if is_cut else None

    def lose_track(self) -> None:
        """What comes next need not follow on what came before."""
        self._link: int = 0

    def coalesce(self) -> None:
        """Keep the newest snapshot alone of those that wait; the ticks of the others are gaps then."""
        self.coalesced += max(0, len(self._samples) - 1)
        del self._samples[:-1], self._windows[:-1]

    def take(self, now_s: float) -> Parcel | None:
        """Hand over the snapshots that wait."""
        if not self._samples:
            return None
        parcel = Parcel(self.series, self._samples, self._windows, self._oldest_s or now_s)
        self._samples, self._windows, self._oldest_s = [], [], None
        return parcel

    def take_holes(self) -> list[Hole]:
        """None: nobody can ask for the order book of another time."""
        return []

    def fill(self, hole: Hole) -> None:
        """Nothing waits for that."""

    def close(self) -> None:
        """Nothing waits for that either."""

    def _sample(self, book: Mapping[str, Any], clock: datetime) -> BookSample:
        bids, asks = ([level[:2] for level in book[side][: self._depth]] for side in ("bids", "asks"))
        told = {"timestamp": book["timestamp"], "nonce": book["nonce"]}
        return BookSample(
            bids=bids,
            asks=asks,
            exchange_ms=book["timestamp"],
            nonce=book["nonce"],
            received_at=datetime.now(UTC),
            exchange_at=clock,
            raw={"bids": bids, "asks": asks, **told},
        )
