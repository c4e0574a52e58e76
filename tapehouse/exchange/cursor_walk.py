"""Walking through trades by a cursor in nanoseconds, oldest first, as Kraken has it.

Requests are made in `trade_requests`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tapehouse.exchange.holes import Hole
from tapehouse.exchange.rows import NO_TIME, kth_newest_ms, times_of, told_by_id
from tapehouse.exchange.trades import MORE_THAN_A_PAGE, OpenRange, TradePage, completed

_NS_PER_MS: Final = 1_000_000
# A trade may be from a little before the millisecond that it tells: its time is written to 100 ns, rounded (the
# last of 1000 recorded ones tells .9822779, its cursor .982277754), and ccxt reckons with it in floats.
_ROUNDED_NS: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class CursorAnswer:
    """The first rows after a point in time, and the cursor that leads on from them, if the exchange gave one."""

    rows: list[object]
    cursor_ns: int | None


# The first trades later than that many nanoseconds since 1970, at most so many.
AskAfter = Callable[[int, int], Awaitable[CursorAnswer]]


@dataclass(frozen=True, slots=True)
class CursorWalk:
    """A walk through the trades in [start, end), which is over by the exchange's clock.

    A page may end within a millisecond, so the next one begins with that millisecond again. Only where a whole
    page lies within one does the walk rely on the cursor.
    """

    ask: AskAfter
    page_limit: int
    start: datetime
    end: datetime

    async def pages(self) -> AsyncIterator[TradePage]:
        """Pages, oldest first, whose windows together are the range."""
        open_range = OpenRange(self.start, self.end)
        course = _Course(_just_before(open_range.first_ms))
        while not open_range.is_done:
            page = await self._next(course, open_range)
            if page is not None:
                yield page

    async def _next(self, course: "_Course", open_range: OpenRange) -> TradePage | None:
        """Ask once and go on; gives what is answered by it."""
        answer = await self._page(course.after_ns, open_range)
        if course.has_jumped and open_range.holes([*open_range.waiting, *answer.rows]):
            return _refuse_millisecond(course, open_range)
        is_new = open_range.take(answer.rows)
        course.largest = max(course.largest, len(answer.rows))
        course.has_jumped = False
        reached_ms = _reached_ms(answer, course.after_ns)
        if reached_ms >= open_range.stop_ms:
            return open_range.answer_all()
        if reached_ms <= open_range.first_ms and not is_new:
            return self._go_on(course, answer, open_range)
        course.is_quiet = len(answer.rows) < self.page_limit
        if reached_ms <= open_range.first_ms:
            course.after_ns = max(course.after_ns, (answer.cursor_ns or 0) - 1)
            return None
        course.after_ns = _just_before(reached_ms)
        return open_range.answer(open_range.first_ms, reached_ms)

    def _go_on(self, course: "_Course", answer: CursorAnswer, open_range: OpenRange) -> TradePage | None:
        """What to do about an answer that had nothing new, which is the end if nothing else is left to try."""
        size = len(answer.rows)
        if answer.cursor_ns is not None and answer.cursor_ns > course.after_ns and size >= course.largest > 0:
            course.after_ns, course.has_jumped = answer.cursor_ns, True
            return None
        if size >= self.page_limit:
            return _refuse_millisecond(course, open_range)
        if course.is_quiet:
            return open_range.answer_all()
        course.is_quiet = True
        return None

    async def _page(self, after_ns: int, open_range: OpenRange) -> CursorAnswer:
        """The trades after that point; what ids, those of waiting rows included, leave out is asked for again."""

        async def ask_for(missing: Hole, known: Sequence[object]) -> list[object]:
            ids, times_ms = told_by_id(known)
            before_ms = int(times_ms[ids < missing[0]][-1])
            return (await self.ask(_just_before(before_ms), self.page_limit)).rows

        answer = await self.ask(after_ns, self.page_limit)
        return CursorAnswer(await completed(answer.rows, open_range, ask_for), answer.cursor_ns)


@dataclass(slots=True)
class _Course:
    """How far a walk is: trades after `after_ns` are next.

    `largest` is the size of the largest page so far, `is_quiet` whether the last page hinted at the end, and
    `has_jumped` whether trades at the very nanosecond of `after_ns` may have been left behind.
    """

    after_ns: int
    largest: int = 0
    is_quiet: bool = False
    has_jumped: bool = False


def _refuse_millisecond(course: _Course, open_range: OpenRange) -> TradePage:
    page = open_range.refuse(open_range.first_ms, open_range.first_ms + 1, MORE_THAN_A_PAGE)
    course.after_ns, course.has_jumped = _just_before(open_range.first_ms), False
    return page


def _just_before(time_ms: int) -> int:
    return time_ms * _NS_PER_MS - _ROUNDED_NS - 1


def _reached_ms(answer: CursorAnswer, after_ns: int) -> int:
    """How far the rows go, all but those of that millisecond being there; a cursor that lags behind is believed.

    Without a cursor it takes more than one row to tell.
    """
    times_ms = times_of(answer.rows)
    if answer.cursor_ns is None or answer.cursor_ns <= after_ns:
        return kth_newest_ms(times_ms)
    return min(int(times_ms.max(initial=NO_TIME)), answer.cursor_ns // _NS_PER_MS)
