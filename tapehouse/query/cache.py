"""Answers kept in memory: never more than so many bytes, and never given out once they may have changed.

An answer is kept with what the ledgers said when it was read. While changes are heard and none was, it is given out as
it is; after one, the ledgers are read again, and only an answer about which they say the same is given out.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from tapehouse.query.changes import Changes

T = TypeVar("T")

# Python's objects of an entry: the key, and what is said of it here.
_ENTRY_BYTES: Final = 1_500


@dataclass(slots=True, eq=False)
class Kept(Generic[T]):
    """Something kept: what it says, of which instrument, how large it is, and up to which moment it is known to hold.

    `facts` is a digest of what the ledgers said; two answers with equal facts are equal.
    """

    value: T
    instrument_id: int
    size_bytes: int
    facts: bytes | None
    moment: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What the cache has done: `hits` were answered from memory alone, `verified` after a look at the ledgers."""

    hits: int
    verified: int
    misses: int
    evictions: int
    entries: int
    bytes: int
    most_bytes: int

    @property
    def hit_rate(self) -> float:
        """The share of questions that were answered without reading rows; NaN before any."""
        asked = self.hits + self.verified + self.misses
        return (self.hits + self.verified) / asked if asked else float("nan")


class Cache:
    """Kept answers by their keys, those used last kept longest; any number of threads may use it at once."""

    def __init__(self, changes: Changes, most_bytes: int) -> None:
        self._changes = changes
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Kept[Any]] = OrderedDict()
        self._bytes = 0
        self._counts = dict.fromkeys(("hits", "verified", "misses", "evictions"), 0)

    @property
    def is_on(self) -> bool:
        """Whether anything is kept at all."""
        return self._most_bytes > 0

    def find(self, key: Hashable, fits: Callable[[Any], bool] | None = None) -> tuple[Kept[Any] | None, bool]:
        """What is kept under a key, if it fits, and whether it is known to hold still."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or (fits and not fits(kept.value)):
                return None, False
            self._kept.move_to_end(key)
            holds = not self._changes.has_changed(kept.instrument_id, kept.moment)
            if holds:
                self._counts["hits"] += 1
            return kept, holds

    def peek(self, key: Hashable) -> tuple[Kept[Any] | None, bool]:
        """As `find`, but nobody asked for it."""
        with self._lock:
            kept = self._kept.get(key)
            return kept, kept is not None and not self._changes.has_changed(kept.instrument_id, kept.moment)

    def verify(self, kept: Kept[Any], facts: bytes, moment: int) -> bool:
        """Whether something kept holds by what the ledgers say at a moment."""
        holds = kept.facts is not None and kept.facts == facts
        if holds:
            with self._lock:
                kept.moment = max(kept.moment, moment)
                self._counts["verified"] += 1
        return holds

    def keep(self, key: Hashable, kept: Kept[Any], *, was_asked_for: bool = True) -> None:
        """Keep something under a key, and let go of what was used longest ago where that makes too much."""
        with self._lock:
            self._counts["misses"] += was_asked_for
            size = kept.size_bytes + _ENTRY_BYTES
            if size > self._most_bytes:
                return
            self._let_go(key)
            self._kept[key] = kept
            self._bytes += size
            while self._bytes > self._most_bytes:
                self._let_go(next(iter(self._kept)))
                self._counts["evictions"] += 1

    def stats(self) -> CacheStats:
        """What it has done so far, and what it holds."""
        with self._lock:
            return CacheStats(**self._counts, entries=len(self._kept), bytes=self._bytes, most_bytes=self._most_bytes)

    def _let_go(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size_bytes + _ENTRY_BYTES
