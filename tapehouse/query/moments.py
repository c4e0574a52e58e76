"""Moments of instruments: read in slices, which are kept in memory and used for as many moments as they can answer.

Slices of the present have no end: they answer for now until something of the instrument changes, and are then read
again in the background while anyone asks for them. Those of the past are of one moment, or of many that were asked
for together. Over those of the present is laid what streams in this process have received.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final, TypeAlias

from tapehouse.errors import InputError, TapehouseError
from tapehouse.live import LiveTape
from tapehouse.live.tape import LiveMarket
from tapehouse.query.cache import Cache, Kept
from tapehouse.query.changes import Changes
from tapehouse.query.clock import Clock
from tapehouse.query.guesses import FOREVER, Guesses
from tapehouse.query.inference import InferenceDataFrame
from tapehouse.query.overlay import Overlay, laid_since
from tapehouse.query.prepared import PreparedSlice
from tapehouse.query.question import Question
from tapehouse.query.reader import Reader
from tapehouse.query.refresher import Refresher
from tapehouse.query.slices import read_slice
from tapehouse.query.spec import Spec
from tapehouse.store.connection import Connection, one_row
from tapehouse.store.sql import query
from tapehouse.timeframe import from_us

# Clocks of bots differ from the server's by so much, now and then.
_CLOCK_SKEW: Final = timedelta(minutes=1)
# Moments that are asked for together and lie within this are answered from one slice.
_RUN: Final = timedelta(hours=2)
# A present that nobody has asked about for so long is not read again before somebody does.
_FORGOTTEN_S: Final = 10.0
# Beside a stream the database changes with each of its writes, which bring nothing that is not laid over already: then
# a slice is read again so often at most, and given out for so long after a change.
_REST_S: Final = 1.0
_LONGEST_LAG_S: Final = 2.0

_Key: TypeAlias = tuple[str, str, Spec]


@dataclass(slots=True)
class _Present:
    """A present that is asked about: from when on, when it was asked for last, read last, and seen to have changed."""

    first: datetime
    asked_at_s: float
    read_at_s: float
    changed_at_s: float | None = None

    def was_read(self) -> None:
        """Note that it was read."""
        self.read_at_s, self.changed_at_s = monotonic(), None

    def may_lag(self) -> bool:
        """Whether it has changed so lately that what was read before may be given out still."""
        now_s = monotonic()
        if self.changed_at_s is None:
            self.changed_at_s = now_s
        return now_s - self.changed_at_s < _LONGEST_LAG_S


class Moments:
    """Reads moments, from memory where it can; any number of threads may ask at once."""

    def __init__(
        self,
        reader: Reader,
        cache: Cache,
        changes: Changes,
        clock: Clock,
        guesses: Guesses,
        live: LiveTape,
        hot_window: timedelta,
    ) -> None:
        self._reader, self._cache, self._changes, self._clock, self._live = reader, cache, changes, clock, live
        self._guesses, self._hot_window = guesses, hot_window
        self._presents: dict[_Key, _Present] = {}
        self._refresher = Refresher(changes, self._refresh)

    def close(self) -> None:
        """Stop what runs in the background."""
        self._refresher.close()

    def get(self, exchange: str, symbol: str, spec: Spec, timestamp: datetime | None) -> InferenceDataFrame:
        """What was known at a moment, or is now."""
        market = self._live.find(exchange, symbol)
        if market is None:
            return InferenceDataFrame(*self.prepared(exchange, symbol, spec, timestamp))
        overlay, at, is_hot = self._find(exchange, symbol, spec, timestamp, market)
        laid = overlay.over(market) if is_hot else overlay.base
        if laid is None:
            # It was read before anything was known to be live of some series.
            overlay = self._read_present((exchange, symbol, spec), at)
            laid = overlay.over(market) or overlay.base
        return InferenceDataFrame(laid, at)

    def now(self) -> datetime:
        """The time by the server's clock, or slightly less."""
        return self._clock.now() or self._read_clock()

    def prepared(
        self, exchange: str, symbol: str, spec: Spec, timestamp: datetime | None
    ) -> tuple[PreparedSlice, datetime]:
        """A slice of what is stored that can answer for a moment, or for now, and that moment."""
        overlay, at, _ = self._find(exchange, symbol, spec, timestamp, None)
        return overlay.base, at

    def iterate(
        self, exchange: str, symbol: str, spec: Spec, timestamps: Iterable[datetime]
    ) -> Iterator[tuple[datetime, InferenceDataFrame]]:
        """What was known at each of many moments, in their order."""
        for run in _runs(happened(one, self.now()) for one in timestamps):
            rows = self._read_slice((exchange, symbol, spec), min(run), max(run))
            for at in run:
                yield at, InferenceDataFrame(rows, at)

    def _find(
        self, exchange: str, symbol: str, spec: Spec, timestamp: datetime | None, market: LiveMarket | None
    ) -> tuple[Overlay, datetime, bool]:
        """What can answer for a moment, or for now, that moment, and whether it is of the present."""
        now = self.now()
        if market:
            # What has been received has happened, whatever our clock says.
            now = max(now, min(from_us(market.newest_us), now + _CLOCK_SKEW))
        at = now if timestamp is None else happened(timestamp, now)
        is_hot = now - at <= self._hot_window
        key = (exchange, symbol, spec)
        kept_key = ("present", *key) if is_hot else ("past", *key, at)
        kept, holds = (
            self._cache.find(kept_key, lambda one: one.base.rows.first <= at) if self._cache.is_on else (None, False)
        )
        present = self._presents.get(key) if is_hot else None
        if present:
            present.asked_at_s = monotonic()
        if kept and (holds or (market and present and present.may_lag())):
            return kept.value, at, is_hot
        return (self._read_present(key, at) if is_hot else self._read(kept_key, key, at, at)), at, is_hot

    def _read_present(self, key: _Key, at: datetime) -> Overlay:
        """Read the present since a moment, and have it read again whenever it changes."""
        overlay = self._read(("present", *key), key, at, FOREVER)
        if self._cache.is_on:
            present = self._presents.setdefault(key, _Present(at, monotonic(), monotonic()))
            present.first = min(present.first, at)
            present.was_read()
            self._refresher.start()
        return overlay

    def _read(
        self,
        kept_key: tuple[object, ...],
        key: _Key,
        first: datetime,
        last: datetime,
        *,
        was_asked_for: bool = True,
    ) -> Overlay:
        if self._cache.is_on:
            self._changes.start()
        moment = self._changes.moment()
        overlay = Overlay(self._read_slice(key, first, last))
        base = overlay.base
        # What is laid over is put together with copies of the rows.
        size_bytes = base.size_bytes * (2 if base.rows.laid_since else 1)
        kept = Kept(overlay, base.rows.ledger.instrument_id, size_bytes, None, moment)
        if self._cache.is_on:
            self._cache.keep(kept_key, kept, was_asked_for=was_asked_for)
        return overlay

    def _read_slice(self, key: _Key, first: datetime, last: datetime) -> PreparedSlice:
        exchange, symbol, spec = key
        question = Question(exchange, symbol, first, None if last == FOREVER else last)
        market = self._live.find(exchange, symbol) if last == FOREVER else None
        since = laid_since(market) if market else {}

        def work(connection: Connection) -> PreparedSlice:
            return PreparedSlice(read_slice(connection, self._guesses, question, spec, last, since))

        asked_at_s = monotonic()
        prepared = self._reader.read(work)
        self._clock.note(prepared.rows.ledger.as_of, asked_at_s)
        return prepared

    def _refresh(self) -> None:
        """Read those presents again that somebody asks about and that have changed."""
        for key, present in list(self._presents.items()):
            if monotonic() - present.asked_at_s > _FORGOTTEN_S:
                self._presents.pop(key, None)
                continue
            kept, holds = self._cache.peek(("present", *key))
            if kept is None or holds or not self._changes.is_listening:
                continue
            exchange, symbol, _ = key
            if self._live.find(exchange, symbol) and monotonic() - present.read_at_s < _REST_S:
                continue
            now = self._clock.now() or datetime.now(UTC)
            # Who asked can do without; the next one who asks is told what is wrong.
            with suppress(TapehouseError):
                first = max(present.first, now - self._hot_window)
                self._read(("present", *key), key, first, FOREVER, was_asked_for=False)
                present.was_read()

    def _read_clock(self) -> datetime:
        asked_at_s = monotonic()
        (now,) = self._reader.read(lambda connection: one_row(connection.execute(query("read_clock"))))
        now = now.astimezone(UTC)
        self._clock.note(now, asked_at_s)
        return now


def happened(time: datetime, now: datetime) -> datetime:
    """The moment, or now where somebody's clock is a little fast; raises InputError for the future."""
    if time - now > _CLOCK_SKEW:
        raise InputError(
            f"{time.isoformat()} has not come yet, it is {now.isoformat()}: ask for an earlier time, or none for now."
        )
    return min(time, now)


def _runs(times: Iterable[datetime]) -> Iterator[list[datetime]]:
    """The times, in their order, in runs that each lie close together."""
    run: list[datetime] = []
    first = last = None
    for time in times:
        first, last = min(first or time, time), max(last or time, time)
        if last - first > _RUN:
            yield run
            run, first, last = [], time, time
        run.append(time)
    if run:
        yield run
