"""Walks through the trades of exchanges of every temper, each a few lines of Python that answer from a known tape."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.exchange.backward_walk import BackwardWalk
from tapehouse.exchange.cursor_walk import CursorAnswer, CursorWalk
from tapehouse.exchange.id_walk import IdWalk
from tapehouse.exchange.recent_walk import RecentWalk
from tapehouse.exchange.trades import TradePage, TradeWalk
from tapehouse.ranges import TimeRange, Unavailable, merge_ranges

START = datetime(2025, 1, 1, tzinfo=UTC)
START_MS = 1_735_689_600_000
HOUR_MS = 3_600_000
Row = tuple[Any, ...]
Spoil = Callable[[list[Row], int], list[Row]]


def at(ms: float) -> datetime:
    return START + timedelta(milliseconds=ms)


def row(trade_id: int, ms: int) -> Row:
    return (START_MS + ms, str(trade_id), "buy", 1.5, 2.0, {"id": trade_id})


@dataclass
class Tape:
    """An exchange whose trade `first_id` + i happened at `ms[i]` after START; `spoil` changes its nth answer."""

    ms: Sequence[int]
    cap: int = 1000
    first_id: int = 1
    spoil: Spoil = lambda rows, asked: rows
    last_of_window: bool = False
    cursors: bool = True
    ns_apart: int = 1
    asked: list[Any] = field(default_factory=list[Any])

    @property
    def rows(self) -> list[Row]:
        return [row(self.first_id + place, ms) for place, ms in enumerate(self.ms)]

    def answer(self, rows: list[Row], *asked: object) -> list[object]:
        self.asked.append(asked)
        return list(self.spoil(rows, len(self.asked)))

    async def from_id(self, first_id: int | None, limit: int) -> list[object]:
        size = min(limit, self.cap)
        if first_id is None:
            return self.answer(self.rows[-size:], "latest")
        return self.answer([row for row in self.rows if int(row[1]) >= first_id][:size], first_id, limit)

    async def up_to_id(self, first_id: int | None, limit: int) -> list[object]:
        before = 2**62 if first_id is None else first_id + limit
        newest = [row for row in self.rows if int(row[1]) < before][-min(limit, self.cap) :]
        return self.answer(newest[::-1], first_id, limit)

    async def between(self, first_ms: int, stop_ms: int, limit: int) -> list[object]:
        assert stop_ms - first_ms <= HOUR_MS
        there, size = [row for row in self.rows if first_ms <= row[0] < stop_ms], min(limit, self.cap)
        return self.answer(there[-size:] if self.last_of_window else there[:size], "between", first_ms, stop_ms)

    async def after(self, after_ns: int, limit: int) -> CursorAnswer:
        """Trade i of a millisecond is `ns_apart` * i later than its beginning."""
        nth: Counter[int] = Counter()
        timed: list[tuple[int, Row]] = []
        for one in self.rows:
            timed.append((one[0] * 1_000_000 + self.ns_apart * nth[one[0]], one))
            nth[one[0]] += 1
        there = [(ns, one) for ns, one in timed if ns > after_ns][: min(limit, self.cap)]
        cursor_ns = there[-1][0] if there and self.cursors else None
        return CursorAnswer(self.answer([one for _, one in there], after_ns), cursor_ns)

    async def window(self, first_ms: int, stop_ms: int, limit: int) -> list[object]:
        first_s, last_s = first_ms // 1000, -(-stop_ms // 1000)
        there = [row for row in self.rows if first_s * 1000 <= row[0] <= last_s * 1000]
        return self.answer(there[-min(limit, self.cap) :][::-1], first_s, last_s)

    async def recent(self, limit: int | None) -> list[object]:
        return self.answer(self.rows[-min(limit or self.cap, self.cap) :][::-1])


class Style(Protocol):
    def __call__(self, tape: Tape, limit: int, start: datetime, end: datetime) -> TradeWalk: ...


STYLES: dict[str, Style] = {
    "from id": lambda tape, limit, start, end: IdWalk(tape.from_id, tape.between, limit, start, end),
    "up to id": lambda tape, limit, start, end: IdWalk(tape.up_to_id, None, limit, start, end),
    "cursor": lambda tape, limit, start, end: CursorWalk(tape.after, limit, start, end),
    "window": lambda tape, limit, start, end: BackwardWalk(tape.window, limit, start, end),
    "recent": lambda tape, limit, start, end: RecentWalk(tape.recent, limit, start, end),
}
WALKING = [style for style in STYLES if style != "recent"]


def walk(tape: Tape, style: str, start: datetime, end: datetime, *, limit: int | None = None) -> list[TradePage]:
    async def collect() -> list[TradePage]:
        return [page async for page in STYLES[style](tape, limit or tape.cap, start, end).pages()]

    return asyncio.run(collect())


def ids_in(pages: list[TradePage]) -> list[int]:
    return [int(cast("Row", row)[1]) for page in pages for row in page.rows]


def refused_in(pages: list[TradePage]) -> list[Unavailable]:
    return [refusal for page in pages for refusal in page.refused]


def windows_of(pages: list[TradePage]) -> list[TimeRange]:
    refused = [(one.start, one.end) for one in refused_in(pages)]
    return merge_ranges([*(window for page in pages for window in page.answered), *refused])


def check(tape: Tape, pages: list[TradePage], start: datetime, end: datetime) -> None:
    """The windows are the range; they hold every trade of it that was not refused, each once, and nothing else."""
    assert windows_of(pages) == [(start, end)]
    refused = refused_in(pages)
    for page in pages:
        for one in cast("list[Row]", page.rows):
            assert any(first <= at(one[0] - START_MS) < stop for first, stop in page.answered)
    expected = [
        int(one[1])
        for one in tape.rows
        if start <= (time := at(one[0] - START_MS)) < end and not any(no.start <= time < no.end for no in refused)
    ]
    assert sorted(ids_in(pages)) == expected


TAPES = st.lists(st.sampled_from([0, 0, 0, 1, 7, 400, 1500, 90_000, 2 * HOUR_MS]), max_size=60).map(
    lambda gaps: [sum(gaps[: place + 1]) for place in range(len(gaps))]
)
BOUNDS = st.tuples(st.integers(-2 * HOUR_MS, 10 * HOUR_MS), st.sampled_from([1, 30, 2500, HOUR_MS, 5 * HOUR_MS, 10**8]))


@pytest.mark.parametrize("style", STYLES)
@given(ms=TAPES, bounds=BOUNDS, cap=st.integers(2, 9), believed=st.sampled_from([None, 20]), odd=st.booleans())
def test_windows_tile_the_range_and_hold_every_trade(
    style: str, ms: list[int], bounds: tuple[int, int], cap: int, believed: int | None, odd: bool
):
    start, end = at(bounds[0] + 0.25 * odd), at(bounds[0] + bounds[1] + 0.5 * odd)
    tape = Tape(ms, cap, last_of_window=odd)
    # Where only a time can be asked for, a market whose few trades all lie in one second looks complete.
    pages = walk(tape, style, start, end, limit=None if style in {"window", "recent"} else believed)
    check(tape, pages, start, end)
    if style in {"from id", "up to id", "cursor"}:
        assert refused_in(pages) == []


def steady(count: int, every_ms: int = 100) -> list[int]:
    return list(range(0, count * every_ms, every_ms))


@pytest.mark.parametrize("style", WALKING)
def test_pages_of_seven_unordered_and_duplicated_lose_nothing(style: str):
    def spoil(rows: list[Row], asked: int) -> list[Row]:
        return random.Random(asked).sample(rows * 2, 2 * len(rows))

    tape = Tape(steady(500), 7, spoil=spoil)
    pages = walk(tape, style, at(4000), at(40_000), limit=1000 if style == "window" else 7)
    assert windows_of(pages) == [(at(4000), at(40_000))]
    refused = refused_in(pages)
    assert refused == [] or style == "window"
    assert set(ids_in(pages)) == set(range(41, 401)) - {
        place + 1 for place in range(500) if any(one.start <= at(place * 100) < one.end for one in refused)
    }


@pytest.mark.parametrize("style", ["from id", "up to id", "cursor"])
def test_thousands_of_trades_in_one_millisecond_are_all_there(style: str):
    tape = Tape([*steady(50), *[5000] * 3000, *range(5001, 5100)], 70)
    pages = walk(tape, style, at(-10), at(20_000))
    check(tape, pages, at(-10), at(20_000))
    assert refused_in(pages) == []


def test_a_second_with_more_trades_than_a_page_is_refused_where_only_seconds_can_be_asked_for():
    tape = Tape([*steady(50), *[6500] * 3000, *range(8000, 8100)], 120)
    pages = walk(tape, "window", at(-10), at(20_000))
    check(tape, pages, at(-10), at(20_000))
    assert refused_in(pages) == [Unavailable(at(6000), at(6501), "more_than_a_page")]


@pytest.mark.parametrize("style", WALKING)
def test_a_page_shorter_than_asked_is_not_an_end(style: str):
    tape = Tape(steady(300), 40, spoil=lambda rows, asked: rows[: max(1, len(rows) * 2 // 3)])
    pages = walk(tape, style, at(3000), at(29_000))
    check(tape, pages, at(3000), at(29_000))
    assert refused_in(pages) == []


@pytest.mark.parametrize("style", STYLES)
def test_an_empty_answer_by_mistake_hides_no_trades(style: str):
    tape = Tape(steady(30), 100, spoil=lambda rows, asked: [] if asked == 1 else rows)
    pages = walk(tape, style, at(500), at(2000))
    check(tape, pages, at(500), at(2000))
    assert len(ids_in(pages)) == 15


@pytest.mark.parametrize("style", WALKING)
def test_ids_left_out_are_asked_for_again(style: str):
    def spoil(rows: list[Row], asked: int) -> list[Row]:
        return rows if asked % 2 else [row for row in rows if int(row[1]) % 10 not in {3, 4}]

    tape = Tape(steady(200), 50, spoil=spoil)
    pages = walk(tape, style, at(0), at(19_000))
    check(tape, pages, at(0), at(19_000))


@pytest.mark.parametrize("style", WALKING)
def test_ids_that_stay_left_out_are_believed_not_to_be(style: str):
    tape = Tape(steady(200), 50, spoil=lambda rows, asked: [row for row in rows if not 90 <= int(row[1]) < 100])
    pages = walk(tape, style, at(0), at(19_000))
    assert windows_of(pages) == [(at(0), at(19_000))]
    assert sorted(ids_in(pages)) == [*range(1, 90), *range(100, 191)]
    assert len(tape.asked) < 20


@pytest.mark.parametrize("style", ["from id", "up to id", "cursor"])
def test_a_row_that_tells_a_time_to_come_is_asked_for_again(style: str):
    def spoil(rows: list[Row], asked: int) -> list[Row]:
        late = asked % 2 == 0
        return [(one[0] + 10**10, *one[1:]) if late and int(one[1]) in {60, 75, 100} else one for one in rows]

    tape = Tape(steady(200), 50, spoil=spoil)
    pages = walk(tape, style, at(0), at(19_000))
    check(tape, pages, at(0), at(19_000))


@pytest.mark.parametrize("style", STYLES)
def test_rows_that_tell_no_time_are_given_with_their_page(style: str):
    unreadable: Any = {"trade": "?"}
    timeless: Row = (None, "15", "buy", 1.0, 1.0, {})
    tape = Tape(steady(30), 100, spoil=lambda rows, asked: [*rows[:5], unreadable, timeless, *rows[5:]])
    pages = walk(tape, style, at(500), at(2000))
    rows = [one for page in pages for one in page.rows]
    assert unreadable in rows
    assert timeless in rows
    assert sorted(int(one[1]) for one in cast("list[Row]", rows) if one not in (unreadable, timeless)) == [
        *range(6, 21)
    ]


def test_a_trade_that_comes_late_by_its_id_is_given_with_a_window_of_its_own():
    ms = steady(100)
    ms[60] = 1234
    tape = Tape(ms, 25)
    pages = walk(tape, "from id", at(0), at(9000))
    check(tape, pages, at(0), at(9000))
    (late,) = (page for page in pages if [int(cast("Row", one)[1]) for one in page.rows] == [61])
    assert late.answered == [(at(1234), at(1235))]


def test_a_wrong_time_at_the_end_of_a_page_does_not_end_the_walk():
    def spoil(rows: list[Row], asked: int) -> list[Row]:
        return [*rows[:-1], (rows[-1][0] + 10**9, *rows[-1][1:])] if asked == 3 else rows

    tape = Tape(steady(200), 50, spoil=spoil)
    pages = walk(tape, "from id", at(0), at(19_000))
    check(tape, pages, at(0), at(19_000))


def test_an_id_out_of_all_proportion_does_not_lead_the_walk_astray():
    def spoil(rows: list[Row], asked: int) -> list[Row]:
        return [*rows[:-1], (rows[-1][0], str(10**15), *rows[-1][2:])] if asked == 3 else rows

    tape = Tape(steady(200), 50, spoil=spoil)
    pages = walk(tape, "from id", at(0), at(19_000))
    assert windows_of(pages) == [(at(0), at(19_000))]
    assert set(ids_in(pages)) == {*range(1, 191), 10**15}


@pytest.mark.parametrize("last_of_window", [False, True])
def test_the_time_before_a_listing_costs_three_requests(last_of_window: bool):
    tape = Tape([10**9 + ms for ms in steady(10)], first_id=0, last_of_window=last_of_window)
    pages = walk(tape, "from id", at(0), at(10**9 + 500))
    check(tape, pages, at(0), at(10**9 + 500))
    # Twice the empty first hour, then the oldest trade; then its page.
    assert len(tape.asked) == 4


@pytest.mark.parametrize("style", ["from id", "up to id"])
def test_what_an_exchange_has_forgotten_is_refused_not_believed_empty(style: str):
    tape = Tape(steady(100), first_id=5000)
    pages = walk(tape, style, at(-10 * HOUR_MS), at(8000))
    check(tape, pages, at(-10 * HOUR_MS), at(8000))
    assert refused_in(pages) == [Unavailable(at(-10 * HOUR_MS), at(0), "beyond_exchange_history")]


@pytest.mark.parametrize("style", ["from id", "up to id"])
def test_a_quiet_range_costs_few_requests(style: str):
    tape = Tape([*steady(5000), *(ms + 400 * HOUR_MS for ms in steady(5000))], 100)
    start, end = at(300 * HOUR_MS), at(320 * HOUR_MS)
    pages = walk(tape, style, start, end)
    assert [(page.rows, page.answered) for page in pages if page.answered] == [([], [(start, end)])]
    assert len(tape.asked) <= 12


def test_the_latest_minutes_cost_few_requests():
    for style, most in {"from id": 5, "up to id": 4, "cursor": 2, "window": 1}.items():
        tape = Tape(steady(5000))
        pages = walk(tape, style, at(470_000), at(500_000))
        check(tape, pages, at(470_000), at(500_000))
        assert len(tape.asked) <= most, style


def test_an_end_inside_a_page_ends_the_walk():
    for style in ("from id", "cursor", "up to id"):
        tape = Tape(steady(5000), 1000)
        pages = walk(tape, style, at(100_000), at(150_000))
        assert [min(ids_in(pages)), max(ids_in(pages))] == [1001, 1500]
        assert len(tape.asked) <= 9, style


def test_a_first_trade_is_found_among_hundreds_of_millions_by_few_requests():
    asked: list[int | None] = []

    def time_of(trade_id: int) -> int:
        return START_MS + (trade_id * 5 if trade_id < 10**8 else 5 * 10**8 + (trade_id - 10**8) // 40)

    async def ask(first_id: int | None, limit: int) -> list[object]:
        asked.append(first_id)
        first = 4 * 10**8 - limit if first_id is None else max(1, first_id)
        ids = range(first, min(first + limit, 4 * 10**8))
        return [(time_of(trade_id), str(trade_id), None, 1.0, 1.0, {}) for trade_id in ids]

    async def collect(start: datetime, end: datetime) -> list[TradePage]:
        return [page async for page in IdWalk(ask, None, 1000, start, end).pages()]

    for begin_ms in (300, 4 * 10**8, 5 * 10**8 + 10**6, 5 * 10**8 + 7 * 10**6):
        asked.clear()
        pages = asyncio.run(collect(at(begin_ms), at(begin_ms + 50)))
        assert sorted(ids_in(pages)) == _ids_between(time_of, START_MS + begin_ms, START_MS + begin_ms + 50)
        assert len(asked) <= 25


def _ids_between(time_of: Callable[[int], int], first_ms: int, stop_ms: int) -> list[int]:
    low, high = 1, 4 * 10**8
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if time_of(middle) >= first_ms else (middle + 1, high)
    found: list[int] = []
    while low < 4 * 10**8 and time_of(low) < stop_ms:
        found.append(low)
        low += 1
    return found


@pytest.mark.parametrize(("cursors", "ns_apart"), [(False, 1), (True, 0)])
def test_a_millisecond_that_no_cursor_leads_through_is_refused(cursors: bool, ns_apart: int):
    tape = Tape([*steady(50), *[5000] * 300, *range(5100, 5200)], 70, cursors=cursors, ns_apart=ns_apart)
    pages = walk(tape, "cursor", at(0), at(9000))
    check(tape, pages, at(0), at(9000))
    assert refused_in(pages) == [Unavailable(at(5000), at(5001), "more_than_a_page")]


def test_a_trade_that_rounding_moves_into_the_range_is_there():
    async def ask(after_ns: int, limit: int) -> CursorAnswer:
        ns = [(START_MS + 999) * 1_000_000 + 999_960, (START_MS + 1500) * 1_000_000]
        rows = [row(1, 1000), row(2, 1500)]
        there = [place for place in (0, 1) if ns[place] > after_ns]
        return CursorAnswer([rows[place] for place in there], ns[there[-1]] if there else None)

    async def collect() -> list[TradePage]:
        return [page async for page in CursorWalk(ask, 50, at(1000), at(2000)).pages()]

    assert ids_in(asyncio.run(collect())) == [1, 2]


def test_a_cursor_that_runs_ahead_of_its_rows_is_not_believed():
    async def ask(after_ns: int, limit: int) -> CursorAnswer:
        answer = await tape.after(after_ns, limit)
        return CursorAnswer(answer.rows, None if answer.cursor_ns is None else answer.cursor_ns + 10**12)

    async def collect() -> list[TradePage]:
        return [page async for page in CursorWalk(ask, 50, at(0), at(15_000)).pages()]

    tape = Tape(steady(200), 50)
    check(tape, asyncio.run(collect()), at(0), at(15_000))


RECENT: dict[str, tuple[datetime, datetime, list[Unavailable], int]] = {
    "older than the page": (at(0), at(5000), [Unavailable(at(0), at(5000), "beyond_exchange_history")], 0),
    "half of it older": (at(5000), at(12_000), [Unavailable(at(5000), at(10_201), "beyond_exchange_history")], 17),
    "within the page": (at(15_000), at(19_000), [], 40),
    "after the page": (at(20_000), at(30_000), [], 0),
}


@pytest.mark.parametrize("case", RECENT)
def test_a_full_page_of_recent_trades_answers_from_after_its_oldest_millisecond(case: str):
    start, end, refused, count = RECENT[case]
    tape = Tape(steady(200), 100)
    pages = walk(tape, "recent", start, end)
    check(tape, pages, start, end)
    assert (refused_in(pages), len(ids_in(pages)), len(tape.asked)) == (refused, count, 1)


def test_a_short_page_of_recent_trades_may_be_cut_within_its_oldest_millisecond():
    tape = Tape(steady(20), 100)
    pages = walk(tape, "recent", at(-500), at(5000))
    check(tape, pages, at(-500), at(5000))
    assert refused_in(pages) == [Unavailable(at(-500), at(201), "beyond_exchange_history")]
    assert len(ids_in(pages)) == 17


def test_an_exchange_without_recent_trades_proves_nothing():
    pages = walk(Tape([]), "recent", at(0), at(5000))
    assert refused_in(pages) == [Unavailable(at(0), at(5000), "beyond_exchange_history")]
