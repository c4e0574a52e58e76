"""Walks through trades of which a few tell a wrong time or none: at most these may be lost, and no others."""

from typing import Any, cast

import pytest

from tapehouse.exchange.rows import time_of
from tests.exchange.test_trade_walks import (
    START_MS,
    STYLES,
    Row,
    Tape,
    at,
    check,
    ids_in,
    refused_in,
    row,
    steady,
    walk,
    windows_of,
)

HOURS_MS = 5 * 3_600_000


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("by_ms", [-HOURS_MS, HOURS_MS])
@pytest.mark.parametrize("is_passing", [True, False])
def test_a_wrong_time_hides_no_other_trade(style: str, by_ms: int, is_passing: bool):
    def spoil(rows: list[Row], asked: int) -> list[Row]:
        if is_passing and asked > 1:
            return rows
        middle = len(rows) // 2
        return [(one[0] + by_ms * (n == middle), *one[1:]) for n, one in enumerate(rows)]

    tape = Tape(steady(2000), 60, spoil=spoil, cursors=False)
    start, end = at(50_000), at(150_000)
    pages = walk(tape, style, start, end)
    assert windows_of(pages) == [(start, end)]
    refused = refused_in(pages)
    there = {
        int(one[1])
        for one in tape.rows
        if start <= (time := at(one[0] - START_MS)) < end and not any(no.start <= time < no.end for no in refused)
    }
    assert len(there - set(ids_in(pages))) <= len(tape.asked) * (not is_passing) + is_passing
    if style in {"from id", "up to id"} and is_passing:
        assert there <= set(ids_in(pages))


def test_a_first_second_cut_by_a_page_shorter_than_asked_is_refused():
    tape = Tape([3 * n for n in range(300)], 100)
    pages = walk(tape, "window", at(-1000), at(30_000), limit=1000)
    check(tape, pages, at(-1000), at(30_000))
    assert [one.cause for one in refused_in(pages)] == ["more_than_a_page"]


def test_a_timeless_row_is_given_with_the_windows_on_both_sides():
    def spoil(rows: list[Row], asked: int) -> list[Row]:
        return [(None, *one[1:]) if one[1] == "998" else one for one in rows]

    tape = Tape([n // 10 * 1000 for n in range(3000)], 996, spoil=spoil)
    pages = walk(tape, "from id", at(0), at(300_000))
    given = [page for page in pages for one in page.rows if cast("Row", one)[1] == "998"]
    assert any(first <= at(99_000) < stop for page in given for first, stop in page.answered)


def test_siblings_cut_off_a_short_page_of_recent_trades_are_not_covered():
    tape = Tape([n // 10 * 1000 for n in range(3000)], 7)
    pages = walk(tape, "recent", at(0), at(300_000), limit=500)
    check(tape, pages, at(0), at(300_000))


def test_a_hole_that_stays_does_not_hide_one_that_can_be_filled():
    def spoil(rows: list[Row], asked: int) -> list[Row]:
        left_out: set[int] = {180} | ({130} if asked == 1 else set[int]())
        return [one for one in rows if int(one[1]) not in left_out][: 40 if asked > 1 else 99]

    tape = Tape(steady(200), 100, spoil=spoil)
    assert 130 in ids_in(walk(tape, "window", at(0), at(20_000)))


@pytest.mark.parametrize(
    ("cell", "time_ms"),
    [
        ("1735689600500", 1735689600500),
        (1735689600500.5, 1735689600500),
        ("1_0", None),
        ("x", None),
        (None, None),
        (True, None),
        (float("nan"), None),
        ("inf", None),
    ],
)
def test_times_are_read_as_validation_reads_them(cell: Any, time_ms: int | None):
    assert time_of((cell, *row(1, 0)[1:])) == time_ms
