"""Which candles a stream takes for whole, and which it has missed."""

from typing import Any

from tapehouse.store.instruments import CandleSeries
from tapehouse.stream.candle_lane import CandleLane
from tapehouse.timeframe import timeframe
from tests.stream.test_trade_lane import MARKET, START_MS, in_ms

MINUTE_MS = 60_000
SERIES = CandleSeries(1, MARKET, timeframe("1m"))


def state(minute: int, close: float) -> tuple[object, ...]:
    return START_MS + minute * MINUTE_MS, 10.0, 20.0, 5.0, close, 1.0


def a_lane(known_until_ms: int | None = None) -> CandleLane:
    return CandleLane(SERIES, known_until_ms=known_until_ms)


def taken(lane: CandleLane) -> list[tuple[int, float]]:
    """Minutes and closes of what is handed over."""
    parcel = lane.take(0.0)
    if parcel is None:
        return []
    rows: list[Any] = list(parcel.rows)
    opens = [row[0] - START_MS for row in rows]
    assert [in_ms(window) for window in parcel.windows] == [(one, one + MINUTE_MS) for one in opens]
    return [(one // MINUTE_MS, row[4]) for one, row in zip(opens, rows, strict=True)]


def holes(lane: CandleLane) -> list[tuple[int, int]]:
    return [(start // MINUTE_MS, end // MINUTE_MS) for start, end in (in_ms(hole.span) for hole in lane.take_holes())]


def test_a_candle_is_whole_once_the_next_has_begun():
    lane = a_lane()
    assert lane.add(state(0, 11.0), 1, 0.0) == (None, START_MS)
    assert lane.add(state(0, 12.0), 1, 0.0) == (None, None)
    assert taken(lane) == []
    assert lane.add(state(1, 13.0), 1, 0.0) == (state(0, 12.0), None)
    assert taken(lane) == [(0, 12.0)]
    assert holes(lane) == []


def test_the_last_state_of_another_connection_may_not_have_been_the_last():
    lane = a_lane()
    lane.add(state(0, 11.0), 1, 0.0)
    lane.add(state(1, 12.0), 2, 0.0)
    assert taken(lane) == []
    assert holes(lane) == [(0, 1)]


def test_a_candle_that_another_connection_brought_to_its_end_is_whole():
    lane = a_lane()
    lane.add(state(0, 11.0), 1, 0.0)
    lane.add(state(0, 12.0), 2, 0.0)
    lane.add(state(1, 13.0), 2, 0.0)
    assert taken(lane) == [(0, 12.0)]


def test_candles_that_are_left_out_are_missing():
    lane = a_lane(known_until_ms=START_MS - 3 * MINUTE_MS)
    lane.add(state(0, 11.0), 1, 0.0)
    lane.add(state(4, 12.0), 1, 0.0)
    assert taken(lane) == [(0, 11.0)]
    assert holes(lane) == [(-3, 0), (1, 4)]


def test_what_is_old_changes_nothing():
    lane = a_lane()
    for minute, close in ((0, 11.0), (1, 12.0), (0, 99.0), (2, 13.0)):
        lane.add(state(minute, close), 1, 0.0)
    assert taken(lane) == [(0, 11.0), (1, 12.0)]


def test_a_single_state_of_a_candle_that_has_not_begun_ends_none():
    lane = a_lane()
    lane.add(state(0, 11.0), 1, 0.0)
    lane.add(state(10**6, 12.0), 1, 0.0, is_ahead=True)
    lane.add(state(0, 13.0), 1, 0.0)
    lane.add(state(1, 14.0), 1, 0.0)
    assert taken(lane) == [(0, 13.0)]
    assert holes(lane) == []
    lane.add(state(2, 15.0), 1, 0.0, is_ahead=True)
    lane.add(state(2, 16.0), 1, 0.0, is_ahead=True)
    assert taken(lane) == [(1, 14.0)]
