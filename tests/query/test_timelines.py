from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pandas as pd
import psycopg
import pytest
from psycopg.types.range import TimestamptzRange

from tapehouse.errors import InputError
from tapehouse.lanes import STATES, Lane, Lanes
from tapehouse.query.timelines import read_lanes
from tapehouse.timeframe import to_us
from tests.query.conftest import Tape, random_bars, random_books

START = datetime(2024, 1, 1, tzinfo=UTC)


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def note(tape: Tape, series_id: int, first: float, last: float, cause: str) -> None:
    tape.connection.execute(
        "insert into unavailable (series_id, during, cause, next_try_at) values (%s, %s, %s, now())",
        (series_id, TimestamptzRange(at(first), at(last)), cause),
    )


def count(tape: Tape) -> None:
    tape.connection.execute("call count_stored_rows()")


def read(tape: Tape, *, start: datetime | None = None, end: datetime | None = None) -> Lanes:
    lanes = read_lanes(tape.connection, tape.exchange, None, start=start, end=end)
    assert lanes is not None
    return lanes


def told(lane: Lane) -> list[tuple[float, float, str]]:
    """The minutes after START and the state of each part."""
    minutes = [(bound - to_us(START)) / 60e6 for bound in lane.parts.bounds_us.tolist()]
    states = [STATES[int(place)] for place in lane.parts.state.tolist()]
    return list(zip(minutes[:-1], minutes[1:], states, strict=True))


def test_a_lane_shows_what_the_ledgers_say(tape: Tape):
    tape.write(random_bars(START, 10))
    tape.write(random_bars(at(40), 20))
    series_id = tape.series_id("1m")
    for first, last, cause in ((10, 12, "rejected"), (12, 20, "failed"), (60, 70, "beyond_exchange_history")):
        note(tape, series_id, first, last, cause)
    tape.connection.execute(
        "insert into substitute (series_id, during, source) values (%s, %s, 'trades')",
        (series_id, TimestamptzRange(at(45), at(50))),
    )
    count(tape)
    (lane,) = read(tape, start=at(-10), end=at(100)).lanes
    assert (lane.exchange, lane.name, lane.rows) == (tape.exchange, "BTC/USDT 1m", 30)
    assert told(lane) == [
        (-10, 0, "unasked"),
        (0, 10, "rows"),
        (10, 12, "rejected"),
        (12, 20, "failed"),
        (20, 40, "missing"),
        (40, 45, "rows"),
        (45, 50, "substituted"),
        (50, 60, "rows"),
        (60, 70, "beyond"),
        (70, 100, "unasked"),
    ]


def test_causes_are_those_of_the_latest_attempt(tape: Tape):
    tape.write(random_bars(START, 10))
    series_id = tape.series_id("1m")
    for first, last, cause in (
        (10, 30, "failed"),
        (10, 60, "beyond_exchange_history"),
        (50, 55, "rejected"),
        (70, 80, "failed"),
        (80, 82, "more_than_a_page"),
    ):
        note(tape, series_id, first, last, cause)
    assert told(read(tape).lanes[0]) == [
        (0, 10, "rows"),
        (10, 50, "beyond"),
        (50, 55, "rejected"),
        (55, 60, "beyond"),
        (60, 70, "missing"),
        (70, 80, "failed"),
        (80, 82, "beyond"),
    ]


@pytest.mark.parametrize(("name", "count_of_bars"), [("1m", 6000), ("5m", 3000), ("1d", 3000)])
@pytest.mark.parametrize("is_refreshed", [True, False], ids=["refreshed", "behind"])
def test_stretches_without_a_candle_are_known_to_be_empty(
    tape: Tape, name: str, count_of_bars: int, is_refreshed: bool
):
    step = {"1m": 1, "5m": 5, "1d": 1440}[name]
    bars = random_bars(START, count_of_bars, step=timedelta(minutes=step))
    tape.write(bars.drop(bars.index[500:1500]), name)
    if is_refreshed:
        tape.refresh_rollups(START, at(1440 * 5))
    else:
        tape.mark_stale(START, at(6000))
    count(tape)
    (lane,) = read(tape).lanes
    # In more than 3.5 days 1m candles are looked for in rollups. Those that are behind may lack minutes that are
    # there: then no stretch is called empty.
    if name == "1m" and not is_refreshed:
        assert told(lane) == [(0, 6000, "rows")]
    else:
        first, last, state = told(lane)[1]
        assert state == "empty"
        assert (first, last) == pytest.approx((500 * step, 1500 * step), abs=5 * step)
        assert [one[2] for one in told(lane)] == ["rows", "empty", "rows"]


def test_where_no_rollup_is_looked_at_those_behind_hide_nothing(tape: Tape):
    bars = random_bars(START, 600)
    tape.write(bars.drop(bars.index[200:500]))
    tape.mark_stale(START, at(600))
    count(tape)
    assert told(read(tape).lanes[0]) == [(0, 200, "rows"), (200, 500, "empty"), (500, 600, "rows")]


def test_what_rollups_are_behind_on_hides_no_empty_bars_beside_it(tape: Tape):
    bars = random_bars(START, 6000)
    tape.write(bars.drop(bars.index[2000:4000]))
    tape.refresh_rollups(START, at(1440 * 5))
    tape.mark_stale(at(3000), at(6000))
    count(tape)
    assert told(read(tape).lanes[0]) == [(0, 2000, "rows"), (2000, 3000, "empty"), (3000, 6000, "rows")]


def test_an_attempt_in_vain_on_many_bars_does_not_tell_that_all_are_empty(tape: Tape):
    bars = random_bars(START, 500)
    tape.write(bars.drop(bars.index[[10, 490]]))
    note(tape, tape.series_id("1m"), 10, 491, "exchange_empty")
    count(tape)
    assert told(read(tape).lanes[0]) == [
        (0, 10, "rows"),
        (10, 11, "empty"),
        (11, 490, "rows"),
        (490, 491, "empty"),
        (491, 500, "rows"),
    ]


def test_an_attempt_in_vain_on_one_bar_tells_of_it_where_steps_are_longer(tape: Tape):
    bars = random_bars(START, 3000)
    tape.write(bars.drop(bars.index[[31, 101, 2000]]))
    note(tape, tape.series_id("1m"), 31, 32, "exchange_empty")
    note(tape, tape.series_id("1m"), 101, 2001, "exchange_empty")
    count(tape)
    assert told(read(tape).lanes[0]) == [(0, 31, "rows"), (31, 32, "empty"), (32, 3000, "rows")]


def test_an_attempt_in_vain_on_one_month_tells_of_it(tape: Tape):
    months = pd.date_range(START, periods=7, freq="MS")
    minutes = [(to_us(month.to_pydatetime()) - to_us(START)) / 60e6 for month in months]
    tape.cover(START, at(minutes[6]), "1M")
    note(tape, tape.series_id("1M"), minutes[2], minutes[3], "exchange_empty")
    note(tape, tape.series_id("1M"), minutes[4], minutes[6], "exchange_empty")
    assert told(read(tape).lanes[0]) == [
        (0, minutes[2], "rows"),
        (minutes[2], minutes[3], "empty"),
        (minutes[3], minutes[6], "rows"),
    ]


def test_what_lies_outside_of_a_listing_is_no_gap(tape: Tape):
    tape.write(random_bars(START, 10))
    tape.cover(at(-50), at(0))
    count(tape)
    tape.connection.execute("update series set begins_at = %s where instrument_id = %s", (START, tape.instrument_id))
    tape.connection.execute(
        "update instrument set active = false, last_seen_at = %s where instrument_id = %s", (at(15), tape.instrument_id)
    )
    assert told(read(tape).lanes[0]) == [(0, 10, "rows")]
    assert told(read(tape, start=at(-100), end=at(30)).lanes[0]) == [
        (-100, 0, "outside"),
        (0, 10, "rows"),
        (10, 15, "unasked"),
        (15, 30, "outside"),
    ]


def test_what_was_wanted_and_not_got_to_is_missing(tape: Tape):
    tape.write(random_bars(at(20), 10))
    tape.connection.execute(
        "update series set wanted_from = %s, wanted_until = %s where series_id = %s",
        (at(10), at(60), tape.series_id("1m")),
    )
    missing = [(10, 20, "missing"), (20, 30, "rows"), (30, 60, "missing")]
    assert told(read(tape).lanes[0]) == missing
    assert told(read(tape, end=at(80)).lanes[0]) == [*missing, (60, 80, "unasked")]
    tape.connection.execute(
        "update instrument set active = false, last_seen_at = %s where instrument_id = %s", (at(40), tape.instrument_id)
    )
    tape.connection.execute("update series set begins_at = %s where series_id = %s", (at(15), tape.series_id("1m")))
    assert told(read(tape).lanes[0]) == [
        (15, 20, "missing"),
        (20, 30, "rows"),
        (30, 40, "missing"),
        (40, 60, "outside"),
    ]


def test_what_retention_dropped_is_no_gap(tape: Tape):
    tape.cover_all([(at(0), at(10)), (at(20), at(50)), (at(55), at(60))], "30m")
    with tape.connection.transaction() as transaction:
        tape.connection.execute("insert into retention values ('ohlcv', 1800, %s)", (at(40),))
        (lane,) = read(tape).lanes
        raise psycopg.Rollback(transaction)
    assert [one for one in told(lane) if one[2] in ("dropped", "unasked", "missing")] == [
        (0, 10, "dropped"),
        (10, 20, "unasked"),
        (20, 40, "dropped"),
        (50, 55, "missing"),
    ]


def test_every_series_has_a_lane_in_the_order_of_the_table(make_tape: Callable[..., Tape]):
    tape = make_tape("BTC/USDT")
    wanted = make_tape("ETH/USDT", exchange=tape.exchange).series_id("1m")
    tape.connection.execute(
        "update series set wanted_from = %s, wanted_until = %s where series_id = %s", (at(0), at(1), wanted)
    )
    window = (START, at(1))
    tape.write_books(random_books([START]), window)
    tape.cover(at(0), at(1), "1h")
    lanes = read(tape)
    assert [lane.name for lane in lanes.lanes] == ["BTC/USDT 1h", "BTC/USDT order books", "ETH/USDT 1m"]
    assert told(lanes.lanes[2]) == [(0, 1, "missing")]


def test_nothing_asked_for_is_no_chart_and_an_empty_window_is_refused(tape: Tape):
    tape.series_id("1m")
    assert read_lanes(tape.connection, tape.exchange, None, start=None, end=None) is None
    tape.cover(at(0), at(1))
    with pytest.raises(InputError, match="choose other bounds"):
        read_lanes(tape.connection, tape.exchange, None, start=at(5), end=None)
