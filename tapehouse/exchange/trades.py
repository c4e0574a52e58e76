"""Pages of trades, and the part of a range that is still to be answered.

How an exchange is walked is in `id_walk`, `cursor_walk`, `backward_walk` and `recent_walk`; what is
asked of ccxt for it in `trade_requests`. A raw row is a tuple (time in ms, id, side, price, amount,
the row as received), or the row as received where ccxt can't read it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, cast

import numpy as np
import numpy.typing as npt

from tapehouse.candle import Int64Array
from tapehouse.exchange.holes import Hole, fills, holes_among, left_out
from tapehouse.exchange.rows import NO_ID, NO_TIME, chosen, ids_of, times_of
from tapehouse.ranges import TimeRange, Unavailable
from tapehouse.timeframe import from_ms, to_us

Request = Callable[[], Awaitable[list[object]]]
# Asks for the ids from the first that is left out on, up to the second, where those rows are known.
AskForMissing = Callable[[Hole, Sequence[object]], Awaitable[list[object]]]

# More trades at one point in time than the exchange gives a page, and no way to ask for the rest.
MORE_THAN_A_PAGE: Final = "more_than_a_page"
_FRUITLESS_ANSWERS: Final = 2
# Where so many stay open, ids don't run without holes after all.
_MOST_HOLES_ASKED: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class TradePage:
    """Raw rows of trades as received, and the windows they are an answer for.

    Every row with a believable time lies in an answered window; the others are given with the page they came
    in. `answered` and `refused` are half-open, in UTC; a window is answered again where a trade of it comes late.
    """

    rows: list[object]
    answered: list[TimeRange]
    refused: list[Unavailable]


class TradeWalk(Protocol):
    """A way through the trades of a range that suits an exchange."""

    def pages(self) -> AsyncIterator[TradePage]:
        """Pages in any order whose windows together are the range."""
        ...


class OpenRange:
    """The part [first_ms, stop_ms) of a range that is not answered yet, and the rows that wait for it to be.

    A trade's time stands for its millisecond, so bounds between milliseconds are rounded up.
    """

    def __init__(self, start: datetime, end: datetime) -> None:
        self._start, self._end = start, end
        self._start_ms = self.first_ms = _ceil_ms(start)
        self._end_ms = self.stop_ms = _ceil_ms(end)
        self._waiting: list[object] = []

    @property
    def is_done(self) -> bool:
        """Whether all of the range is answered or refused."""
        return self.first_ms >= self.stop_ms

    @property
    def waiting(self) -> Sequence[object]:
        """The rows received for what is still to be answered."""
        return self._waiting

    def holds(self, times_ms: Int64Array) -> npt.NDArray[np.bool_]:
        """Which of the times are still to be answered."""
        return (times_ms >= self.first_ms) & (times_ms < self.stop_ms)

    def take(self, rows: Sequence[object]) -> bool:
        """Let the rows wait that are still to be answered, or tell no time; says whether any of the former is new."""
        times_ms = times_of(rows)
        taken = self._unknown(chosen(rows, self.holds(times_ms) | (times_ms == NO_TIME)))
        self._waiting += taken
        return bool(self.holds(times_of(taken)).any())

    def answer(self, first_ms: int, stop_ms: int) -> TradePage:
        """The page for [first_ms, stop_ms), which is one end of what is still to be answered, or all of it.

        A row that tells no time goes with the rows before and after it: with both where only one of them is answered.
        """
        times_ms = times_of(self._waiting)
        is_answered = (times_ms >= first_ms) & (times_ms < stop_ms)
        is_kept = ~is_answered
        window = self._window(first_ms, stop_ms)
        self._close(first_ms, stop_ms)
        if (is_timeless := times_ms == NO_TIME).any():
            by_answered, by_kept = _beside(is_answered, is_timeless), _beside(is_kept & ~is_timeless, is_timeless)
            is_answered |= is_timeless & (by_answered | self.is_done)
            # What comes after the last row may be held back as well.
            is_kept = (is_kept & ~is_timeless) | (by_kept | ~by_answered) & is_timeless
            is_kept |= is_timeless & (np.arange(len(times_ms)) > np.flatnonzero(~is_timeless).max(initial=-1))
        page = TradePage(chosen(self._waiting, is_answered), [window], [])
        self._waiting = chosen(self._waiting, is_kept)
        return page

    def answer_all(self) -> TradePage:
        """The page for all that is still to be answered."""
        return self.answer(self.first_ms, self.stop_ms)

    def refuse(self, first_ms: int, stop_ms: int, cause: str) -> TradePage:
        """A page without rows that refuses [first_ms, stop_ms), one end of what is still to be answered."""
        refused = Unavailable(*self._window(first_ms, stop_ms), cause)
        self._close(first_ms, stop_ms)
        self._waiting = chosen(self._waiting, self.holds(times := times_of(self._waiting)) | (times == NO_TIME))
        return TradePage([], [], [refused])

    def late_pages(self, rows: Sequence[object]) -> list[TradePage]:
        """A page for each millisecond that was answered already and has a row here all the same."""
        times_ms = times_of(rows)
        is_late = (times_ms >= self._start_ms) & (times_ms < self._end_ms) & ~self.holds(times_ms)
        return [
            TradePage(chosen(rows, times_ms == late_ms), [self._window(late_ms, late_ms + 1)], [])
            for late_ms in cast("list[int]", np.unique(times_ms[is_late]).tolist())
        ]

    def holes(self, rows: Sequence[object], *, after: int | None = None) -> list[Hole]:
        """The ids left out among the rows, or from `after` + 1 on, where ids run without holes.

        A row whose time is not in the range though its id is among those of rows that are counts as left out.
        """
        ids, is_told = self._placed_ids(rows)
        ids = np.unique(ids[is_told])
        return holes_among(ids if after is None else np.concatenate(([after], ids[ids > after])))

    def _placed_ids(self, rows: Sequence[object]) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
        """The ids of the rows, and which of them have one and a time that fits it."""
        ids, times_ms = ids_of(rows), times_of(rows)
        is_told = (ids != NO_ID) & (times_ms != NO_TIME)
        is_inside = is_told & self.holds(times_ms)
        if is_inside.any():
            is_before = (ids < ids[is_inside].min()) & (times_ms < self.first_ms)
            is_after = (ids > ids[is_inside].max()) & (times_ms >= self.stop_ms)
            is_told &= is_inside | is_before | is_after
        return ids, is_told

    def _unknown(self, rows: list[object]) -> list[object]:
        """Those of the rows that don't wait already."""
        is_suspect = np.isin(times_of(rows), times_of(self._waiting))
        if not is_suspect.any():
            return rows
        known = {_identity(row) for row in self._waiting}
        suspects = cast("list[bool]", is_suspect.tolist())
        return [row for row, suspect in zip(rows, suspects, strict=True) if not suspect or _identity(row) not in known]

    def _window(self, first_ms: int, stop_ms: int) -> TimeRange:
        return (
            self._start if first_ms == self._start_ms else from_ms(first_ms),
            self._end if stop_ms == self._end_ms else from_ms(stop_ms),
        )

    def _close(self, first_ms: int, stop_ms: int) -> None:
        if first_ms <= self.first_ms:
            self.first_ms = stop_ms
        else:
            self.stop_ms = first_ms


def _beside(mask: npt.NDArray[np.bool_], is_timeless: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which rows have, of those that tell a time, one that the mask is true for as the next or the one before."""
    timed = np.flatnonzero(~is_timeless)
    place = np.searchsorted(timed, np.arange(len(mask)))
    flags = np.concatenate(([False], mask[timed], [False]))
    return flags[place] | flags[place + 1]


async def completed(
    rows: list[object], open_range: OpenRange, ask_for: AskForMissing, *, after: int | None = None
) -> list[object]:
    """The rows with those that their ids leave out, asked for until two answers in a row have none of them.

    All holes are asked for as one at first; one that can't be filled must not hide the others, so those that are
    left then are asked for each by itself.
    """
    rows, holes = await _filled(rows, open_range, ask_for, None, after=after)
    if len(holes) > 1:
        for hole in holes[:_MOST_HOLES_ASKED]:
            rows, _ = await _filled(rows, open_range, ask_for, hole, after=after)
    return rows


async def _filled(
    rows: list[object], open_range: OpenRange, ask_for: AskForMissing, within: Hole | None, *, after: int | None
) -> tuple[list[object], list[Hole]]:
    """The rows with those found for the holes within one, or for all of them, and the holes that are left of these."""
    holes = _holes_within(within, open_range.holes([*open_range.waiting, *rows], after=after))
    fruitless = 0
    while holes and fruitless < _FRUITLESS_ANSWERS:
        again = await ask_for((holes[0][0], holes[-1][1]), [*open_range.waiting, *rows])
        more = rows + chosen(again, fills(ids_of(again), holes))
        still_open = _holes_within(within, open_range.holes([*open_range.waiting, *more], after=after))
        if left_out(still_open) < left_out(holes):
            rows, holes, fruitless = more, still_open, 0
        else:
            fruitless += 1
    return rows, holes


def _holes_within(within: Hole | None, holes: list[Hole]) -> list[Hole]:
    return [one for one in holes if within is None or (within[0] <= one[0] and one[1] <= within[1])]


async def asked_twice_if_empty(request: Request) -> list[object]:
    """The rows; an answer without any is believed when it comes a second time."""
    return await request() or await request()


def _identity(row: object) -> str:
    return repr(cast("tuple[object, ...]", row)[:-1] if isinstance(row, tuple) else row)


def _ceil_ms(time: datetime) -> int:
    return -(-to_us(time) // 1000)
