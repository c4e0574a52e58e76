"""Walks through exchanges of every temper, each a few lines of Python that answer from a known truth."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.exchange.habits import Habits
from tapehouse.exchange.pages import CandlePage, CandleWalk
from tapehouse.ranges import Unavailable
from tapehouse.timeframe import Timeframe, timeframe

START = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MINUTE_MS = 60_000
START_MS = 1_735_689_600_000
Row = list[object]
Asked = tuple[datetime, datetime | None, int]
Spoil = Callable[[list[Row], int], list[Row]]


def at(minute: float) -> datetime:
    return START + minute * MINUTE


@dataclass
class Temper:
    """An exchange that has candles at `minutes`; a candle's open price is its minute, so that rows show where from."""

    minutes: set[int]
    limit: int
    now: int
    respects_until: bool = True
    newest_of_window: bool = False
    keeps: int | None = None
    spoil: Spoil = lambda rows, asked: rows
    asked: list[Asked] = field(default_factory=list[Asked])

    async def __call__(self, start: datetime, end: datetime | None, limit: int) -> list[object]:
        self.asked.append((start, end, limit))
        until = end if end is not None and self.respects_until else at(self.now + 1)
        kept = self.now - self.keeps if self.keeps is not None else -(10**9)
        there = sorted(minute for minute in self.minutes if start <= at(minute) < until and minute >= kept)
        size = min(limit, self.limit) if self.keeps is None else self.keeps + 1
        there = there[-size:] if self.newest_of_window else there[:size]
        return [*self.spoil([row(minute) for minute in there], len(self.asked))]


def row(minute: int) -> Row:
    return [START_MS + minute * MINUTE_MS, float(minute), 1.0, 1.0, 1.0, 1.0]


def walk(
    exchange: Temper,
    habits: Habits,
    start: datetime,
    end: datetime,
    *,
    believed_limit: int | None = None,
) -> list[CandlePage]:
    async def collect() -> list[CandlePage]:
        candles = CandleWalk(
            exchange,
            timeframe("1m"),
            habits,
            believed_limit or exchange.limit,
            start,
            end,
            closed_until=at(exchange.now),
        )
        return [page async for page in candles.pages()]

    return asyncio.run(collect())


def tiles(pages: list[CandlePage]) -> list[tuple[datetime, datetime]]:
    refused = [(one.start, one.end) for page in pages for one in page.refused]
    return sorted([*(window for page in pages for window in page.answered), *refused])


def minutes_in(pages: list[CandlePage]) -> set[float]:
    return {cast("list[float]", row)[1] for page in pages for row in page.rows}


TEMPERS = {
    "fills": (Habits(), True),
    "leaves out": (Habits(leaves_out_empty=True), True),
    "skips ahead": (Habits(skips_ahead=True), True),
    "ignores the end": (Habits(), False),
}


@pytest.mark.parametrize("temper", TEMPERS)
@given(
    minutes=st.sets(st.integers(-20, 60)),
    bounds=st.tuples(st.integers(-10, 45), st.integers(1, 40), st.sampled_from([0, 0.5])),
    limit=st.integers(2, 9),
    now=st.integers(20, 60),
)
def test_windows_tile_the_range_and_hold_every_candle(
    temper: str, minutes: set[int], bounds: tuple[int, int, float], limit: int, now: int
):
    habits, respects_until = TEMPERS[temper]
    start, end = at(bounds[0] + bounds[2]), at(bounds[0] + bounds[1] + bounds[2])
    exchange = Temper(minutes | {now}, limit, now, respects_until=respects_until)
    pages = walk(exchange, habits, start, end)

    windows = tiles(pages)
    closed = min(end, at(now))
    assert all(left[1] == right[0] for left, right in pairwise(windows))
    if start < closed:
        assert (windows[0][0], windows[-1][1]) == (start, closed)
    else:
        assert pages == []
    refused = [refusal for page in pages for refusal in page.refused]
    expected = {
        minute
        for minute in minutes
        if start <= at(minute) < closed and not any(one.start <= at(minute) < one.end for one in refused)
    }
    assert minutes_in(pages) == expected
    assert refused == [] or not respects_until


def test_an_exchange_that_keeps_only_recent_candles_is_asked_once():
    exchange = Temper(set(range(-50_000, 1000)), 720, now=999, respects_until=False, keeps=720)
    habits = Habits(recent_only=True)
    pages = walk(exchange, habits, at(-40_000), at(5000))
    assert [page.refused for page in pages] == [[Unavailable(at(-40_000), at(279), "beyond_exchange_history")]]
    assert [page.answered for page in pages] == [[(at(279), at(999))]]
    assert minutes_in(pages) == set(range(279, 999))
    assert len(exchange.asked) == 1


def test_a_range_wholly_before_what_is_kept_is_refused_without_asking():
    exchange = Temper(set(range(1000)), 720, now=999, respects_until=False, keeps=720)
    pages = walk(exchange, Habits(recent_only=True), at(10), at(200))
    assert [page.refused for page in pages] == [[Unavailable(at(10), at(200), "beyond_exchange_history")]]
    assert exchange.asked == []


def test_a_bar_that_expired_between_clock_and_request_is_refused_not_believed_empty():
    exchange = Temper(set(range(2000)), 720, now=1000, respects_until=False, keeps=719)
    pages = walk(exchange, Habits(recent_only=True), at(0), at(5000))
    assert [page.refused for page in pages] == [[Unavailable(at(0), at(281), "beyond_exchange_history")]]
    assert [page.answered for page in pages] == [[(at(281), at(1000))]]


def test_a_full_page_of_an_unknown_exchange_that_begins_late_refuses_the_head_and_jumps_to_it():
    exchange = Temper(set(range(-3000, 1000)), 100, now=999, respects_until=False, keeps=100)
    pages = walk(exchange, Habits(), at(-2000), at(950))
    assert pages[0].refused == [Unavailable(at(-2000), at(899), "beyond_exchange_history")]
    assert minutes_in(pages) == set(range(899, 950))
    assert len(exchange.asked) == 2


SPOILT: dict[str, tuple[Spoil, int]] = {
    "short": (lambda rows, asked: rows[:-4] if asked == 1 else rows, 2),
    "no head": (lambda rows, asked: rows[3:] if asked == 1 else rows, 2),
    "hole": (lambda rows, asked: [*rows[:3], *rows[6:]] if asked == 1 else rows, 2),
    "empty": (lambda rows, asked: [] if asked == 1 else rows, 2),
    "short again": (lambda rows, asked: rows[: 5 * asked], 3),
    "unordered": (lambda rows, asked: rows[::-1], 1),
    "duplicates": (lambda rows, asked: rows + rows[:2], 1),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_rows_missing_by_mistake_are_asked_for_again(spoilt: str):
    spoil, requests = SPOILT[spoilt]
    exchange = Temper(set(range(50)), 20, now=50, spoil=spoil)
    pages = walk(exchange, Habits(), at(10), at(30))
    assert minutes_in(pages) == set(range(10, 30))
    assert len(exchange.asked) == requests


@pytest.mark.parametrize("newest_of_window", [False, True])
def test_pages_smaller_than_believed_lose_nothing(newest_of_window: bool):
    exchange = Temper(set(range(100)), 7, now=99, newest_of_window=newest_of_window)
    pages = walk(exchange, Habits(), at(0), at(99), believed_limit=30)
    assert minutes_in(pages) == set(range(99))


def test_a_true_hole_is_asked_for_once_more_and_only_there():
    exchange = Temper(set(range(50)) - {14, 15, 17}, 20, now=50)
    pages = walk(exchange, Habits(), at(10), at(30))
    assert exchange.asked == [(at(10), at(30), 20), (at(14), at(18), 4)]
    assert pages[0].answered == [(at(10), at(30))]


def test_where_empty_intervals_are_left_out_a_hole_is_believed():
    exchange = Temper(set(range(0, 50, 7)), 20, now=50)
    walk(exchange, Habits(leaves_out_empty=True), at(10), at(30))
    assert len(exchange.asked) == 1


def test_the_time_before_a_listing_costs_two_requests_not_hundreds():
    exchange = Temper(set(range(100_000, 100_010)), 10, now=100_010)
    pages = walk(exchange, Habits(skips_ahead=True), at(0), at(100_010))
    assert minutes_in(pages) == set(range(100_000, 100_010))
    assert len(exchange.asked) == 3
    assert tiles(pages) == [(at(0), at(100_000)), (at(100_000), at(100_010))]


def test_an_empty_answer_by_mistake_hides_no_candles_of_its_window():
    exchange = Temper(set(range(15, 50)), 20, now=50, spoil=lambda rows, asked: [] if asked == 1 else rows)
    pages = walk(exchange, Habits(skips_ahead=True), at(10), at(30))
    assert minutes_in(pages) == set(range(15, 30))
    assert tiles(pages) == [(at(10), at(30))]


def test_odd_rows_pass_and_rows_of_other_times_do_not():
    odd: list[Row] = [
        [None] * 6,
        ["soon", 1],
        [True, 1.0, 1.0, 1.0, 1.0, 1.0],
        [START_MS * 1000, 1.0, 1.0, 1.0, 1.0, 1.0],
        [START_MS + 61_000, -1.0, 1.0, 1.0, 1.0, 1.0],
    ]
    elsewhere: list[Row] = [row(99), row(-1), [float(START_MS + 5 * MINUTE_MS), 5.0, 1.0, 1.0, 1.0, 1.0]]
    exchange = Temper(set(range(5)), 10, now=5, spoil=lambda rows, asked: [*elsewhere, *rows, *odd])
    (page,) = walk(exchange, Habits(), at(0), at(5))
    assert page.rows == [*(row(minute) for minute in range(5)), *odd]


def test_months_are_walked_by_the_calendar():
    opens = [datetime(year, month, 1, tzinfo=UTC) for year in (2023, 2024) for month in range(1, 13)]
    asked: list[Asked] = []

    async def ask(start: datetime, end: datetime | None, limit: int) -> list[object]:
        asked.append((start, end, limit))
        assert end is not None
        return [[int(o.timestamp() * 1000), 1.0, 1.0, 1.0, 1.0, 1.0] for o in opens if start <= o < end]

    async def collect(month: Timeframe) -> list[CandlePage]:
        until = datetime(2025, 1, 1, tzinfo=UTC)
        found = CandleWalk(ask, month, Habits(), 10, opens[1], until, closed_until=until)
        return [page async for page in found.pages()]

    pages = asyncio.run(collect(timeframe("1M")))
    assert [len(page.rows) for page in pages] == [10, 10, 3]
    assert [start for start, _, _ in asked] == [opens[1], opens[11], opens[21]]


def test_the_time_after_the_last_candle_of_all_costs_four_requests_not_hundreds():
    exchange = Temper(set(range(15)), 10, now=100_000)
    pages = walk(exchange, Habits(skips_ahead=True), at(20), at(100_000))
    assert minutes_in(pages) == set()
    assert len(exchange.asked) == 4
    assert tiles(pages) == [(at(20), at(100_000))]


@pytest.mark.parametrize("mistakes", [range(1, 3), range(2, 4)], ids=["at once", "later"])
def test_two_empty_answers_by_mistake_do_not_end_a_market(mistakes: range):
    exchange = Temper(set(range(1000, 2000)), 10, now=2000, spoil=lambda rows, asked: [] if asked in mistakes else rows)
    pages = walk(exchange, Habits(skips_ahead=True), at(900), at(2000))
    assert minutes_in(pages) == set(range(1000, 2000))
