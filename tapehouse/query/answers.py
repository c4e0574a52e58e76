"""Answers of `MarketData` about the past, kept in memory for as long as they hold.

What an answer depends on is its window: of candles the bars in it, so that all questions until the next bar closes
have one answer.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from time import monotonic
from typing import Any, TypeAlias

from tapehouse.query.cache import Cache, Kept
from tapehouse.query.changes import Changes
from tapehouse.query.clock import Clock
from tapehouse.query.frame import MarketFrame, handed_out, sealed
from tapehouse.query.ledger import Ledger
from tapehouse.query.plan import SeriesState
from tapehouse.query.question import Question
from tapehouse.query.reader import Reader
from tapehouse.query.weight import frame_bytes, json_bytes
from tapehouse.ranges import Substitute, TimeRange, intersect_ranges
from tapehouse.store.connection import Connection

Read: TypeAlias = Callable[[Connection], tuple[MarketFrame, Ledger]]


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """A frame without attrs, which share its memory with those handed out, and its attrs."""

    frame: MarketFrame
    attrs: dict[str, Any]


class Answers:
    """Reads answers, and keeps those that are complete."""

    def __init__(self, reader: Reader, cache: Cache, changes: Changes, clock: Clock) -> None:
        self._reader, self._cache, self._changes, self._clock = reader, cache, changes, clock

    def get(
        self,
        question: Question,
        read: Read,
        *,
        look: Callable[[Connection], Ledger] | None,
        window_at: Callable[[datetime], TimeRange | None],
        key: tuple[Hashable, ...],
    ) -> MarketFrame:
        """The answer that `read` gives.

        It is kept under the key with the window that an answer given at a time depends on; None if it is not to be
        kept. `look` reads the ledger alone, None where that does not tell whether an answer still holds.
        """
        if not self._cache.is_on:
            return self._reader.read(read)[0]
        now = self._clock.now()
        window = window_at(now) if now else None
        key = (*key, window)
        kept, holds = self._cache.find(key) if window else (None, False)
        if kept and holds:
            return self._hand_out(kept.value, question)
        self._changes.start()
        moment, asked_at_s = self._changes.moment(), monotonic()

        def work(connection: Connection) -> tuple[MarketFrame, Ledger] | None:
            if kept and window and look:
                ledger = look(connection)
                if self._cache.verify(kept, _facts(ledger, window), moment):
                    self._clock.note(ledger.as_of, asked_at_s)
                    return None
            return read(connection)

        found = self._reader.read(work)
        if found is None:
            assert kept is not None
            return self._hand_out(kept.value, question)
        frame, ledger = found
        self._clock.note(ledger.as_of, asked_at_s)
        # By the time that it was read another bar may have closed.
        if window is None or window_at(ledger.as_of) != window:
            return frame
        answer = _Answer(sealed(frame), {str(name): value for name, value in frame.attrs.items()})
        frame.attrs = {}
        facts = _facts(ledger, window) if look else None
        size = frame_bytes(frame) + json_bytes(answer.attrs)
        self._cache.keep(key, Kept(answer, ledger.instrument_id, size, facts, moment))
        return handed_out(answer.frame, answer.attrs)

    def _hand_out(self, answer: _Answer, question: Question) -> MarketFrame:
        """The answer with the times of this question."""
        now = self._clock.now() or question.start
        as_of = now.isoformat()
        end = question.end.isoformat() if question.end and question.end < now else as_of
        return handed_out(
            answer.frame, {**answer.attrs, "as_of": as_of, "start": question.start.isoformat(), "end": end}
        )


def _facts(ledger: Ledger, window: TimeRange) -> bytes:
    """A digest of what the ledger says that matters to the window: while that is the same, so is the answer.

    What is covered may be in more pieces than there are rows.
    """
    series = tuple((key, _clipped(ledger.series[key], window)) for key in sorted(ledger.series))
    said = ledger.instrument_id, ledger.scale, ledger.amount_unit, ledger.trade_unit, ledger.from_sandbox, series
    return blake2b(repr(said).encode(), digest_size=16).digest()


def _clipped(state: SeriesState, window: TimeRange) -> SeriesState:
    return replace(
        state,
        covered=tuple(intersect_ranges(state.covered, [window])),
        stale_rollups=tuple(intersect_ranges(state.stale_rollups, [window])),
        stale_features=tuple(intersect_ranges(state.stale_features, [window])),
        substitutes=tuple(
            Substitute(max(one.start, window[0]), min(one.end, window[1]), one.source)
            for one in state.substitutes
            if one.start < window[1] and window[0] < one.end
        ),
    )
