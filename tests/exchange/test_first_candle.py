"""Searches for the first candle on exchanges of every temper, each answering from a known truth."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from tapehouse.errors import PermanentError
from tapehouse.exchange.first_candle import FirstCandleSearch
from tapehouse.exchange.habits import Habits
from tapehouse.timeframe import Timeframe, timeframe, to_ms

NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
LISTED: Final = datetime(2019, 2, 26, 17, 31, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
LONGER: Final = {
    "by months": ["5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "1w", "1M"],
    "by days": ["5m", "15m", "1h", "6h", "1d"],
}
LIMIT: Final = 300

Spoil = Callable[[list[datetime], int], list[datetime]]


@dataclass
class Market:
    """Candles of all lengths from `listed` on, but within `closed`; of 1m no more than the last `kept_minutes`."""

    listed: datetime = LISTED
    closed: tuple[datetime, datetime] = (NOW, NOW)
    refused: frozenset[str] = frozenset()
    kept_minutes: int | None = None
    spoil: Spoil = lambda opens, asked: opens
    asked: list[tuple[str, datetime, datetime | None, int]] = field(
        default_factory=list[tuple[str, datetime, datetime | None, int]]
    )

    async def __call__(self, length: Timeframe, start: datetime, end: datetime | None, limit: int) -> list[object]:
        self.asked.append((length.name, start, end, limit))
        if length.name in self.refused:
            raise PermanentError("No such period.")
        opens = self.spoil(self._opens(length, start, min(end or NOW, NOW), limit), len(self.asked))
        return [[to_ms(opened), 1.0, 1.0, 1.0, 1.0, 1.0] for opened in opens]

    def _opens(self, length: Timeframe, start: datetime, end: datetime, limit: int) -> list[datetime]:
        first = max(length.floor(self.listed), length.ceil(start))
        if self.kept_minutes is not None and length == timeframe("1m"):
            first = max(first, NOW - self.kept_minutes * MINUTE)
        opens: list[datetime] = []
        while first < end and len(opens) < limit:
            if not self._is_closed(first, length):
                opens.append(first)
            first = length.close(first)
        return opens

    def _is_closed(self, opened: datetime, length: Timeframe) -> bool:
        return self.closed[0] <= opened and length.close(opened) <= self.closed[1]


def search(market: Market, habits: Habits, longer: str = "by months", *, limit: int = LIMIT) -> datetime | None:
    lengths = [timeframe(name) for name in LONGER[longer]]
    found = FirstCandleSearch(market, timeframe("1m"), lengths, habits, lambda _: limit, NOW)
    return asyncio.run(found.first_open())


def test_where_a_start_skips_ahead_one_request_finds_it_and_one_confirms():
    market = Market()
    assert search(market, Habits(skips_ahead=True)) == LISTED
    assert [limit for _, _, _, limit in market.asked] == [1, LIMIT]
    assert market.asked[1][:3] == ("1m", LISTED - LIMIT * MINUTE, LISTED)


@pytest.mark.parametrize(("longer", "most"), [("by months", 9), ("by days", 33)])
def test_elsewhere_the_longest_candles_lead_to_it(longer: str, most: int):
    market = Market()
    assert search(market, Habits(), longer) == LISTED
    assert len(market.asked) <= most


def test_a_market_that_was_closed_for_years_began_before():
    market = Market(closed=(datetime(2021, 1, 19, tzinfo=UTC), datetime(2023, 7, 13, tzinfo=UTC)))
    assert search(market, Habits(leaves_out_empty=True), "by days") == LISTED


def test_a_length_that_the_exchange_refuses_is_not_needed():
    assert search(Market(refused=frozenset(("1M", "1w"))), Habits()) == LISTED


def test_an_exchange_that_keeps_only_recent_candles_is_not_asked():
    market = Market()
    assert search(market, Habits(recent_only=True)) is None
    assert market.asked == []


def test_minutes_that_go_back_less_far_than_months_are_no_beginning():
    assert search(Market(kept_minutes=5000), Habits()) is None


def test_a_market_without_a_candle_has_no_beginning():
    for habits in (Habits(), Habits(skips_ahead=True)):
        assert search(Market(listed=NOW), habits) is None


def test_one_that_opens_after_now_is_no_beginning():
    late = NOW + timedelta(days=9000)
    assert search(Market(spoil=lambda opens, asked: [late] * (asked == 1)), Habits(skips_ahead=True)) is None


SPOILT: Final[dict[str, Spoil]] = {
    "empty": lambda opens, asked: [],
    "without its head": lambda opens, asked: opens[len(opens) // 2 :],
    "only its last": lambda opens, asked: opens[-1:],
    "years late": lambda opens, asked: [opened + timedelta(days=1000) for opened in opens],
}


@pytest.mark.parametrize("habits", [Habits(), Habits(skips_ahead=True)], ids=["pages", "skips ahead"])
@pytest.mark.parametrize("longer", LONGER)
@pytest.mark.parametrize(
    ("spoilt", "answers"), [*((name, 1) for name in SPOILT), ("empty", 2)], ids=lambda value: str(value)
)
def test_answers_that_are_wrong_never_make_it_begin_too_late(spoilt: str, answers: int, longer: str, habits: Habits):
    sound = Market()
    search(sound, habits, longer)
    for struck in range(1, len(sound.asked) + 1):
        wrong = range(struck, struck + answers)

        def spoil(opens: list[datetime], asked: int, wrong: range = wrong) -> list[datetime]:
            return SPOILT[spoilt](opens, asked) if asked in wrong else opens

        found = search(Market(spoil=spoil), habits, longer)
        assert found is None or found <= LISTED


@pytest.mark.parametrize("longer", LONGER)
def test_no_empty_answer_by_mistake_hides_what_came_before_a_market_was_closed(longer: str):
    closed = (datetime(2019, 6, 1, tzinfo=UTC), datetime(2023, 7, 13, tzinfo=UTC))
    sound = Market(closed=closed)
    assert search(sound, Habits(leaves_out_empty=True), longer) == LISTED
    for struck in range(1, len(sound.asked) + 1):
        market = Market(closed=closed, spoil=_without(struck, slice(0)))
        assert search(market, Habits(leaves_out_empty=True), longer) == LISTED


@pytest.mark.parametrize("longer", LONGER)
def test_no_page_that_lacks_its_first_candle_hides_that_of_a_market_with_few_trades(longer: str):
    quiet = (LISTED.replace(hour=18, minute=0), LISTED.replace(hour=0, minute=0) + timedelta(days=2))
    sound = Market(closed=quiet)
    assert search(sound, Habits(leaves_out_empty=True), longer) == LISTED
    for struck in range(1, len(sound.asked) + 1):
        market = Market(closed=quiet, spoil=_without(struck, slice(1, None)))
        found = search(market, Habits(leaves_out_empty=True), longer)
        assert found is None or found <= LISTED


def _without(struck: int, kept: slice) -> Spoil:
    return lambda opens, asked: opens[kept] if asked == struck else opens
