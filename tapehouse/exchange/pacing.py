"""The pace of requests: who is asked before each one, and how a budget shared with other processes is spent.

Where a budget is kept is not known here; without a pacer ccxt's own limiter sets the pace.
"""

import asyncio
import logging
import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from tapehouse.errors import StoreUnreachable

# Of the pace that ccxt takes to be allowed. The rest is for requests that arrive sooner after one another than
# they were sent: no second sees more than is allowed unless one is held up by 150 ms more than another.
_SHARE: Final = 0.87
# So late a request may still be sent in its slot; after that the slot is lost.
_LATE_S: Final = 0.02
# Who comes new waits for what all others hold, and order books are sampled each second.
_LONGEST_S: Final = 0.25
# While a slice is too short, and where nobody else is, whom one that is too long would cost something.
_SHORT_GROWTH: Final = 2
_LONELY_GROWTH: Final = 4
# Where a slice begins is known as well as answers of the database come at equal speed.
_UNSURE_S: Final = 0.01
_GLUED_S: Final = 0.05
# Without the budget, a process is on its own for that long, and leaves as much room to three others.
_ALONE_S: Final = 5.0
_ALONE_STRETCH: Final = 4
_WORTH_SAYING_S: Final = 5.0

_logger = logging.getLogger(__name__)


class Pacer(Protocol):
    """Who is asked before each request."""

    async def pass_(self, milliseconds: float) -> None:
        """Return when a request may be sent that takes that much of the exchange's time."""
        ...

    async def quiet(self, seconds: float) -> None:
        """The exchange asked for fewer requests: let all that share its limit wait so long."""
        ...


class Budget(Protocol):
    """The time line of an exchange, of which processes reserve slices."""

    async def reserve(self, seconds: float) -> tuple[float, bool]:
        """Reserve the next slice: in how many seconds it begins, and whether the one before was another's."""
        ...

    async def defer(self, seconds: float) -> None:
        """Let no slice begin for so long, apart from those reserved already."""
        ...


class SharedPacer:
    """Lets requests pass in slices of a shared budget: in order, evenly, and never faster to catch up.

    A slice is as long as what waits, or as much of the last one as was used; while nothing waits none is reserved.
    Where the budget can't be reached, requests pass at a quarter of the pace until it can.
    """

    def __init__(self, exchange_id: str, budget: Budget) -> None:
        self._exchange_id = exchange_id
        self._budget = budget
        self._waiting: deque[_Turn] = deque()
        self._held: deque[_Slice] = deque()
        # Until then the request that passed last takes the exchange's time.
        self._taken_until_s = -math.inf
        # How much of the next slice will be used, as far as the last one tells.
        self._expected_s = 0.0
        self._reserving_took_s = 0.0
        self._serving: asyncio.Task[None] | None = None
        self._reserving: asyncio.Task[None] | None = None

    async def pass_(self, milliseconds: float) -> None:
        """Return when a request may be sent that takes that much of the exchange's time, in the order called.

        Raises StoreError where the budget can't be had, and not because the database is out of reach.
        """
        if milliseconds <= 0:
            return
        turn = _Turn(milliseconds / 1000 / _SHARE, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        await turn.come

    async def quiet(self, seconds: float) -> None:
        """Let all processes wait so long; each learns of it when it reserves its next slice."""
        self._held.clear()
        try:
            await self._budget.defer(seconds)
        except StoreUnreachable as error:
            _logger.warning("%s Other processes are not told that %s wants fewer requests.", error, self._exchange_id)
        # What was being reserved meanwhile was reserved before that.
        self._held.clear()

    async def close(self) -> None:
        """Let nothing more pass."""
        tasks = [task for task in (self._serving, self._reserving) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for turn in self._waiting:
            turn.come.cancel()

    async def _serve(self) -> None:
        """Let those that wait pass, until none does."""
        while self._waiting:
            turn, now_s = self._waiting[0], time.monotonic()
            if turn.come.done():
                self._waiting.popleft()
            elif (held := self._usable(turn, now_s)) is None:
                await self._reserve_ahead()
            elif (starts_s := self._next_slot(held, now_s)) > now_s:
                # Looked for anew after that: it may be too late by then, or the slice be given up.
                await asyncio.sleep(starts_s - now_s)
            else:
                self._waiting.popleft()
                self._taken_until_s = starts_s + held.use(turn, is_short=bool(self._waiting))
                turn.come.set_result(None)
                if self._runs_short(now_s):
                    self._expected_s = held.likely_next_s
                    self._reserve_ahead()

    def _usable(self, turn: "_Turn", now_s: float) -> "_Slice | None":
        """The first slice with room for the request; those before it are over."""
        while self._held:
            held = self._held[0]
            if self._next_slot(held, now_s) + turn.length_s * held.stretch <= held.end_s + _UNSURE_S:
                return held
            self._held.popleft()
            self._expected_s = held.likely_next_s
        return None

    def _next_slot(self, held: "_Slice", now_s: float) -> float:
        """When the next request may be sent in the slice."""
        return max(held.start_s, self._taken_until_s, now_s - _LATE_S)

    def _room_s(self, now_s: float) -> float:
        return sum(max(0.0, held.end_s - self._next_slot(held, now_s)) for held in self._held)

    def _waiting_s(self) -> float:
        return sum(turn.length_s for turn in self._waiting)

    def _runs_short(self, now_s: float) -> bool:
        """Whether what is held ends before those that wait have passed, or sooner than more could be reserved."""
        room_s = self._room_s(now_s)
        return bool(self._waiting) and room_s < max(self._waiting_s() - _UNSURE_S, 2 * self._reserving_took_s)

    def _reserve_ahead(self) -> asyncio.Task[None]:
        """The reserving of one more slice for those that wait, which may be under way already."""
        if self._reserving is None or self._reserving.done():
            slot_s = self._waiting[0].length_s
            wanted_s = max(self._waiting_s() - self._room_s(time.monotonic()), self._expected_s)
            # Whole slots, since a part of one is of no use to anybody.
            slots = max(1, int((min(wanted_s, _LONGEST_S) + _UNSURE_S) / slot_s))
            self._reserving = asyncio.create_task(self._reserve(slots * slot_s))
        return self._reserving

    async def _reserve(self, length_s: float) -> None:
        asked_s = time.monotonic()
        try:
            begins_in_s, is_sharing = await self._budget.reserve(length_s)
        except StoreUnreachable as error:
            _logger.warning("%s Until it answers, %s is asked at a quarter of its pace.", error, self._exchange_id)
            self._held.append(_slice_alone(time.monotonic(), length_s))
        except Exception as error:  # noqa: BLE001 -- raised where the requests wait
            self._fail(error)
        else:
            now_s = time.monotonic()
            self._reserving_took_s = now_s - asked_s
            self._hold(now_s + begins_in_s, length_s, is_sharing=is_sharing)
            if begins_in_s > _WORTH_SAYING_S:
                _logger.warning("%s is asked again in %.0f s, when its limit allows.", self._exchange_id, begins_in_s)

    def _hold(self, start_s: float, length_s: float, *, is_sharing: bool) -> None:
        last = self._held[-1] if self._held else None
        if last is not None and not is_sharing and abs(start_s - last.end_s) < _GLUED_S:
            # It begins where that one ends, only that one of the two answers took longer.
            last.end_s += length_s
        else:
            self._held.append(_Slice(start_s, start_s + length_s, growth=1 if is_sharing else _LONELY_GROWTH))

    def _fail(self, error: Exception) -> None:
        """Raise the error in all that wait."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.come.done():
                turn.come.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A request that waits, and how much of the time line it takes."""

    length_s: float
    come: asyncio.Future[None]


@dataclass(slots=True)
class _Slice:
    """A part of the time line that is this process's, by its own clock; requests in it take `stretch` times as long."""

    start_s: float
    end_s: float
    growth: int = 1
    stretch: int = 1
    used_s: float = 0.0
    is_short: bool = False

    def use(self, turn: _Turn, *, is_short: bool) -> float:
        """Let the request take its part, and give its length; the slice is short while others wait after it."""
        length_s = turn.length_s * self.stretch
        self.used_s += length_s
        self.is_short = is_short
        return length_s

    @property
    def likely_next_s(self) -> float:
        """How long the next slice should be, by how much of this one was used."""
        return self.used_s * max(self.growth, _SHORT_GROWTH if self.is_short else 1)


def _slice_alone(now_s: float, length_s: float) -> _Slice:
    """A slice without a budget, that leaves the rest to others who have none either."""
    return _Slice(now_s, now_s + max(_ALONE_S, _ALONE_STRETCH * length_s), stretch=_ALONE_STRETCH)
