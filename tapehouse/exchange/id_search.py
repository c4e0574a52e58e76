"""Finding the first trade of a range where trades are asked for by id, and ids grow with time.

What is done with it is `id_walk`'s business.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Int64Array
from tapehouse.exchange.rows import ROWS_THAT_TELL, ids_of, told_by_id

# The first trades from that id on, at most that many; the newest ones for an id of None.
AskById = Callable[[int | None, int], Awaitable[list[object]]]

# Of so many guesses one halves what is left, so that a search ends however trading came and went.
_GUESSES_A_HALVING: Final = 3


@dataclass(frozen=True, slots=True)
class FirstTrade:
    """The first trade from some time on; `follows_another` says that an older one was seen."""

    trade_id: int
    time_ms: int
    follows_another: bool


class IdSearch:
    """A search for the first trade at `first_ms` or later, by way of the trades that were noted so far."""

    def __init__(self, ask: AskById, page_limit: int, first_ms: int) -> None:
        self._ask = ask
        self._page_limit = page_limit
        self._first_ms = first_ms
        # The last trade seen before that time and the first one seen from then on: id and time.
        self._before: tuple[int, int] | None = None
        self._since: tuple[int, int] | None = None
        # Between these lie the ids that are still in question.
        self._low_id = -1
        self._high_id = 0
        self._ids_per_ms = 0.0
        self._seen_ids: Int64Array = np.empty(0, dtype=np.int64)

    @property
    def has_found(self) -> bool:
        """Whether a trade at that time or later was noted."""
        return self._since is not None

    def note(self, rows: Sequence[object]) -> None:
        """Learn from rows received."""
        ids, times_ms = self._in_question(rows)
        if len(ids) > 1:
            self._ids_per_ms = float(ids[-1] - ids[0]) / max(1.0, float(times_ms[-1] - times_ms[0]))
        self._seen_ids = np.union1d(self._seen_ids, ids)
        before = np.flatnonzero(times_ms < self._first_ms)
        if len(before) >= ROWS_THAT_TELL:
            place = before[-ROWS_THAT_TELL]
            self._before = int(ids[place]), int(times_ms[place])
            self._low_id = self._before[0]
        elif 0 < len(before) == len(ids):
            # Too few to be sure of them, so a search that ends with them gives them too.
            self._before = int(ids[0]), int(times_ms[0])
            self._low_id = self._before[0] - 1
        since = _first_of_a_run(times_ms >= self._first_ms, rather_any=len(before) < ROWS_THAT_TELL)
        if since is not None and ids[since] > self._low_id:
            self._since = int(ids[since]), int(times_ms[since])
            self._high_id = self._since[0]

    async def first(self) -> FirstTrade | None:
        """The first trade from that time on, or one of the few before it; None where none was noted."""
        guesses = blind = 0
        while self._since is not None and self._high_id - self._low_id > (ROWS_THAT_TELL if self._before else 1):
            guesses += 1
            if blind == 1:
                guess = self._low_id + 1  # If ids begin in between, some exchanges say so when asked this.
            elif blind or guesses % _GUESSES_A_HALVING == 0:
                guess = (self._low_id + self._high_id) // 2
            else:
                guess = self._guess(*self._since)
            blind = 0 if await self._look_from(guess) else blind + 1
        if self._since is None:
            return None
        first_id = self._seen_ids[np.searchsorted(self._seen_ids, self._low_id, side="right")]
        return FirstTrade(int(first_id), self._since[1], follows_another=self._before is not None)

    def _in_question(self, rows: Sequence[object]) -> tuple[Int64Array, Int64Array]:
        """The ids that are still in question and their times, in order of the ids."""
        ids, times_ms = told_by_id(rows)
        is_asked = ids > self._low_id
        if self._since is not None:
            is_asked &= ids < self._high_id
        return ids[is_asked], times_ms[is_asked]

    async def _look_from(self, trade_id: int) -> bool:
        """Ask for a page from that id on; says whether it had trades that were in question."""
        asked = min(self._page_limit, self._high_id - trade_id)
        rows = await self._ask(trade_id, asked)
        if len(self._in_question(rows)[0]):
            self.note(rows)
            return True
        if (ids_of(rows) >= self._high_id).any():
            self._high_id = trade_id  # From there on there is nothing up to what was seen.
        else:
            self._low_id = trade_id + asked - 1  # The exchange has these no more, nor older ones.
        return False

    def _guess(self, since_id: int, since_ms: int) -> int:
        """Half a page before where the first trade would be if trading had been steady."""
        if self._before is not None:
            before_id, before_ms = self._before
            guess = before_id + (since_id - before_id) * (self._first_ms - before_ms) // (since_ms - before_ms)
        else:
            guess = since_id - int((since_ms - self._first_ms) * self._ids_per_ms)
        return max(self._low_id + 1, min(guess - self._page_limit // 2, self._high_id - 1))


def _first_of_a_run(mask: npt.NDArray[np.bool_], *, rather_any: bool) -> int | None:
    """Where the mask is true for ROWS_THAT_TELL places on end, or up to its end; the first place of all if need be."""
    places = np.flatnonzero(mask)
    for place in places.tolist():
        if mask[place : place + ROWS_THAT_TELL].all():
            return place
    return int(places[0]) if rather_any and len(places) else None
