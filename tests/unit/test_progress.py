"""How far a fetch is, from a clock of the test's own and figures worked out by hand."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from tapehouse.ingest import CandleRequest, IngestPlan, IngestResult, SeriesRequest, TradeRequest
from tapehouse.ingest.progress import Standing, Tally, length_text
from tapehouse.timeframe import timeframe

_DAY: Final = datetime(2025, 5, 1, tzinfo=UTC)
_NEXT: Final = _DAY + timedelta(days=1)
_BTC: Final = CandleRequest("BTC/USDT", timeframe("1m"), _DAY, _NEXT)
_ETH: Final = CandleRequest("ETH/USDT", timeframe("1m"), _DAY, _NEXT)


@dataclass(slots=True)
class _Series:
    exchange_id: str
    request: SeriesRequest
    plan: IngestPlan | None = None
    result: IngestResult = field(default_factory=IngestResult)
    is_ended: bool = False


class _Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _plan(hours: float) -> IngestPlan:
    return IngestPlan((_DAY, _NEXT), ((_NEXT - timedelta(hours=hours), _NEXT),))


def _done(minutes: int) -> IngestResult:
    return IngestResult(fetched=minutes, seconds=60.0 * minutes, reached=_DAY + timedelta(minutes=minutes))


def test_nothing_is_known_before_anything_was_told() -> None:
    assert Tally[_Series]({"binance": [_BTC]}).total() == Standing(1, 0, 0, 0.0, None, None, None)


def test_rate_share_and_time_left_follow_from_what_was_planned_and_done() -> None:
    clock = _Clock()
    tally = Tally[_Series]({"binance": [_BTC]}, clock=clock)
    tally.tell(_Series("binance", _BTC))
    clock.now_s += 20

    tally.tell(_Series("binance", _BTC, _plan(20), _done(300)))

    # 300 of 1,200 candles in 20 s: 15 a second, 900 left.
    expected = Standing(1, 0, 300, 0.25, 15.0, _DAY + timedelta(hours=5), 60.0)
    assert tally.of("binance") == tally.total() == expected
    assert str(expected) == "25%: 300 rows, 15 a second, 2025-05-01 05:00 UTC reached, 1m 00s left"


def test_a_series_without_a_plan_is_taken_to_lack_as_much_as_the_others() -> None:
    clock = _Clock()
    tally = Tally[_Series]({"binance": [_BTC, _ETH]}, clock=clock)
    tally.tell(_Series("binance", _BTC))
    clock.now_s += 10

    tally.tell(_Series("binance", _BTC, _plan(6), _done(120)))

    # A quarter of the day lacks: 240 of the one are left and 360 of the other, at 12 a second.
    assert (tally.total().left_s, tally.total().share) == (50.0, 120 / 720)


def test_a_long_candle_takes_no_longer_than_a_short_one() -> None:
    clock = _Clock()
    hours = CandleRequest("BTC/USDT", timeframe("1h"), _DAY, _NEXT)
    tally = Tally[_Series]({"binance": [_BTC, hours]}, clock=clock)
    tally.tell(_Series("binance", hours, _plan(24)))
    clock.now_s += 12

    tally.tell(_Series("binance", _BTC, _plan(2), _done(96)))

    # 96 candles in 12 s; 24 of an hour and 24 of a minute are left.
    assert tally.total().left_s == 6.0


def test_exchanges_run_side_by_side_so_the_slowest_says_what_is_left() -> None:
    clock = _Clock()
    tally = Tally[_Series]({"binance": [_BTC], "kraken": [_BTC]}, clock=clock)
    tally.tell(_Series("kraken", _BTC))
    clock.now_s += 10
    tally.tell(_Series("binance", _BTC, _plan(2), _done(100)))
    assert tally.total().left_s is None
    tally.tell(_Series("kraken", _BTC, _plan(2), _done(20)))

    assert (tally.of("binance").left_s, tally.of("kraken").left_s, tally.total().left_s) == (2.0, 50.0, 50.0)
    assert (tally.total().rows, tally.total().reached) == (120, _DAY + timedelta(minutes=20))


def test_of_a_series_that_failed_nothing_is_left() -> None:
    clock = _Clock()
    tally = Tally[_Series]({"binance": [_BTC, _ETH]}, clock=clock)
    tally.tell(_Series("binance", _BTC))
    clock.now_s += 10
    tally.tell(_Series("binance", _BTC, _plan(24), _done(720), is_ended=True))
    tally.tell(_Series("binance", _ETH, is_ended=True))

    assert tally.total() == Standing(2, 2, 720, 1.0, 72.0, _DAY + timedelta(hours=12), 0.0)
    assert [one.request for one in tally.told] == [_BTC, _ETH]


def test_of_trades_time_is_counted() -> None:
    clock = _Clock()
    request = TradeRequest("BTC/USDT", _DAY, _NEXT)
    tally = Tally[_Series]({"binance": [request]}, clock=clock)
    tally.tell(_Series("binance", request))
    clock.now_s += 30

    tally.tell(_Series("binance", request, _plan(12), IngestResult(fetched=90_000, seconds=4 * 3600)))

    assert (tally.total().share, tally.total().rows_per_s, tally.total().left_s) == (1 / 3, 3000.0, 60.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (750, "12m 30s"), (11_100, "3h 05m"), (187_200, "2d 04h")],
)
def test_lengths_of_time_are_short(seconds: float, text: str) -> None:
    assert length_text(seconds) == text
