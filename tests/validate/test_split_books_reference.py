"""split_books against a slow reference in plain Python that shares no code with it."""

from dataclasses import replace
from itertools import pairwise
from math import inf, isfinite, nan
from operator import gt, lt
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from tapehouse.book import BookSample
from tapehouse.timeframe import from_ms, to_us
from tapehouse.validate import split_books

FIRST_MS = 1_735_689_600_000
Levels = list[tuple[float, float]]
Rows = list[Any]


def number(cell: Any) -> float:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return nan
    try:
        return float(cell)
    except ValueError:
        return nan


def levels_of(side: Any, depth: int) -> tuple[Levels, set[str]]:
    """The levels, (nan, nan) where one is none, and what is wrong with single ones."""
    levels: Levels = []
    faults: set[str] = set()
    for level in side[:depth]:
        cells = cast("Rows", level) if isinstance(level, list | tuple) else []
        if len(cells) < 2:
            faults.add("level_not_a_pair")
            levels.append((nan, nan))
            continue
        levels.append((number(cells[0]), number(cells[1])))
        for name, value in zip(("price", "amount"), levels[-1], strict=True):
            faults |= set() if isfinite(value) else {f"{name}_not_finite"}
            faults |= {f"{name}_not_positive"} if value <= 0 else set()
    return levels, faults


def faults_of(bids: Levels, asks: Levels) -> set[str]:
    """What is wrong between levels; NaN is neither sorted nor unsorted."""
    faults: set[str] = set() if bids else {"bids_missing"}
    faults |= set() if asks else {"asks_missing"}
    for name, side, is_beyond in (("bids_not_descending", bids, lt), ("asks_not_ascending", asks, gt)):
        for (before, _), (price, _) in pairwise(side):
            if price == price and before == before and not is_beyond(price, before):
                faults.add(name)
    if bids and asks and bids[0][0] >= asks[0][0]:
        faults.add("crossed")
    return faults


def shifted(levels: Rows, step: float) -> Rows:
    return [[100 + step * (1 + place), amount] for place, amount in enumerate(levels)]


PRICES: Rows = [101.5, 99.5, 98, 0, -1, nan, inf, -inf, None, "99.25", "abc", True]
AMOUNTS: Rows = [1, 0.5, "2", 0, -1, None, nan, inf, True]
ODD_LEVELS: Rows = [None, [], [1], "ab", {}, 5, (97, 1), [97, 1, "more"]]


@st.composite
def sides(draw: st.DrawFn, step: float) -> Rows:
    side = shifted(draw(st.lists(st.sampled_from([1, 2.5, "3"]), min_size=1, max_size=4)), step)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(side)))
        odd = st.sampled_from(ODD_LEVELS) | st.tuples(st.sampled_from(PRICES), st.sampled_from(AMOUNTS))
        side.insert(place, draw(odd))
    return side if draw(st.integers(0, 4)) else []


@st.composite
def samples(draw: st.DrawFn) -> BookSample:
    moment = from_ms(FIRST_MS + draw(st.integers(0, 4)))
    exchange_ms = draw(st.sampled_from([None, None, FIRST_MS, FIRST_MS + 2, FIRST_MS + 4, 5]))
    return BookSample(draw(sides(-1)), draw(sides(+1)), exchange_ms, draw(st.integers(0, 9)), moment, moment, "raw")


@st.composite
def received(draw: st.DrawFn) -> list[BookSample]:
    """Samples, of which some come again under another number."""
    first = draw(st.lists(samples(), max_size=5))
    again = draw(st.lists(st.integers(0, 4), max_size=4)) if first else []
    return [*first, *(replace(first[one % len(first)], nonce=10 + number) for number, one in enumerate(again))]


@settings(max_examples=150)
@given(received(), st.integers(1, 5))
def test_the_split_is_that_of_a_slow_reference(received: list[BookSample], depth: int):
    expected: dict[int, tuple[int, Levels, Levels]] = {}
    rejected: list[set[str]] = []
    for sample in received:
        time_us = to_us(sample.exchange_at) if sample.exchange_ms is None else sample.exchange_ms * 1000
        bids, bid_faults = levels_of(sample.bids, depth)
        asks, ask_faults = levels_of(sample.asks, depth)
        faults = bid_faults | ask_faults | faults_of(bids, asks)
        if time_us == 5000:
            faults.add("time_not_believable")
        if faults:
            rejected.append(faults)
        else:
            known = expected.get(time_us)
            # Of equal ones the first was known before the others.
            if known is None or known[1:] != (bids, asks):
                expected[time_us] = (cast("int", sample.nonce), bids, asks)
    outcome = split_books(received, depth=depth)
    assert [set(reject.reasons) for reject in outcome.rejected] == rejected
    good = outcome.good
    assert good.time_us.tolist() == sorted(expected)
    ordered = [expected[time_us] for time_us in sorted(expected)]
    assert good.nonce.tolist() == [nonce for nonce, _, _ in ordered]
    assert good.bid_count.tolist() == [len(bids) for _, bids, _ in ordered]
    assert good.ask_count.tolist() == [len(asks) for _, _, asks in ordered]
    all_bids = [level for _, bids, _ in ordered for level in bids]
    all_asks = [level for _, _, asks in ordered for level in asks]
    assert list(zip(good.bid_price.tolist(), good.bid_amount.tolist(), strict=True)) == all_bids
    assert list(zip(good.ask_price.tolist(), good.ask_amount.tolist(), strict=True)) == all_asks
