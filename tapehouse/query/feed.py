"""One series that somebody listens to: which event comes next, whether it comes from a stream or from the database.

While a stream in this process feeds the series its events are given as they come. Else what is written into the
database is. Where one takes over from the other, or where a stream has a hole, what comes later waits for a while until
the database has what is missing.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from time import monotonic
from typing import Final

from tapehouse.errors import UnknownSeries
from tapehouse.live.records import LiveCandle, LiveRow
from tapehouse.live.subscription import MOST_WAITING, Turn
from tapehouse.query.arrivals import Arrival, Books, Candles, Event, Key, Kind, Read, Trades
from tapehouse.query.frame import MarketFrame
from tapehouse.timeframe import from_us
from tapehouse.trade import TRADE_SPAN_US

# So long is waited for what is missing before something.
PATIENCE_S: Final = 10.0


class _Source(Enum):
    STREAM = "stream"
    DATABASE = "database"
    # A stream, once the database has given what came before.
    NEITHER = "neither"


class Feed:
    """What comes of one series after a time; to be used by one task."""

    def __init__(self, kind: Kind, read: Read, since: datetime, *, is_open: bool, with_forming: bool) -> None:
        self._kind, self._read, self._with_forming = kind, read, with_forming
        self._source = _Source.STREAM if is_open else _Source.DATABASE
        self.since = since
        """All that happened before this has been given, or need not be."""
        self._last: Key = ()
        # What is not after this has come from the database before the stream took over.
        self._floor: Key = ()
        self._held: list[Arrival] = []
        self._missing_since_s: float | None = None
        # Where what is fetched goes on behind a hole.
        self._resumes: datetime | None = None

    def take(self, what: LiveRow | Turn) -> Iterator[Event]:
        """What is to be given now that the stream has told something."""
        if what is Turn.CLOSED:
            self._turn(_Source.DATABASE)
        elif isinstance(what, Turn):
            # Of order books the next one is all there is to know, and before the first event nothing is missing.
            waits = self._last and not isinstance(self._kind, Books)
            self._turn(_Source.NEITHER if waits else _Source.STREAM)
        elif isinstance(what, LiveCandle) and not what.is_closed:
            if self._with_forming and self._source is _Source.STREAM and (what.time_us,) > self._last:
                yield self._kind.live(what)[1]
        elif self._source is _Source.NEITHER:
            self._held.append(self._kind.live(what))
            if len(self._held) >= MOST_WAITING:
                yield from self._go_live()
        elif self._source is _Source.STREAM:
            yield from self._give(self._kind.live(what))

    def wants_reading(self) -> bool:
        """Whether what is in the database is to be given, or waited for."""
        return self._source is not _Source.STREAM

    def read(self) -> MarketFrame | None:
        """What the database has; None where there is nothing of the series yet."""
        try:
            return self._read(self.since)
        except UnknownSeries:
            return None

    def stored(self, frame: MarketFrame | None) -> Iterator[Event]:
        """What is to be given of what the database has."""
        if frame is None or self._source is _Source.STREAM:
            # A stream has taken over since it was asked.
            return
        until = self._complete_until(frame)
        beyond_us = TRADE_SPAN_US if isinstance(self._kind, Trades) else 0
        for key, event in self._kind.stored(frame):
            is_next = key > self._last and (not self._held or key < self._held[0][0])
            if is_next and (until is None or from_us(key[0] - beyond_us) < until):
                self._last = key
                yield event
        if until is None:
            self.since = max(self.since, from_us(self._last[0])) if self._last else self.since
            return
        self.since = max(self.since, until)
        if self._held and from_us(self._held[0][0][0] // 1000 * 1000) <= self.since:
            yield from self._go_live()

    def missing(self) -> Iterator[Event]:
        """What is to be given because what is missing before it was waited for long enough."""
        if not self._held and self._resumes is None:
            self._missing_since_s = None
            return
        if self._missing_since_s is None:
            self._missing_since_s = monotonic()
        if self._last and monotonic() - self._missing_since_s < PATIENCE_S:
            return
        self._missing_since_s = None
        if self._held:
            yield from self._go_live()
        elif self._resumes is not None:
            self.since, self._resumes = self._resumes, None

    def _complete_until(self, frame: MarketFrame) -> datetime | None:
        """Until when nothing is missing since what was given; None of what is sampled, and has no such time."""
        if isinstance(self._kind, Books):
            return None
        covered = [[datetime.fromisoformat(time) for time in one] for one in frame.attrs["covered"]]
        until = covered.pop(0)[1] if covered and covered[0][0] <= self.since else self.since
        self._resumes = covered[0][0] if covered else None
        if isinstance(self._kind, Candles):
            until = self._kind.timeframe.floor(until)
        return until

    def _turn(self, source: _Source) -> None:
        if self._source is _Source.STREAM and self._last:
            last = from_us(self._last[0] // 1000 * 1000)
            self.since = self._kind.timeframe.close(last) if isinstance(self._kind, Candles) else last
        self._source, self._held, self._resumes, self._missing_since_s = source, [], None, None

    def _go_live(self) -> Iterator[Event]:
        held, self._held = self._held, []
        self._source, self._floor, self._missing_since_s = _Source.STREAM, self._last, None
        for arrival in held:
            yield from self._give(arrival)

    def _give(self, arrival: Arrival) -> Iterator[Event]:
        key, event = arrival
        if key > self._floor:
            self._last = max(self._last, key)
            yield event
