"""What a lane of trades claims to be all there was: never more than it has handed over."""

from dataclasses import fields
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tapehouse.instrument import Instrument
from tapehouse.ranges import TimeRange
from tapehouse.store.instruments import TradeSeries
from tapehouse.stream.trade_lane import TradeLane
from tapehouse.timeframe import to_ms
from tests.listings import made_up_listing

START_MS = 1_750_000_000_000
SEEN = datetime(2025, 6, 1, tzinfo=UTC)
LISTING = made_up_listing(exchange="binance")
MARKET = Instrument(
    instrument_id=1,
    first_seen_at=SEEN,
    last_seen_at=SEEN,
    **{one.name: getattr(LISTING, one.name) for one in fields(Instrument) if hasattr(LISTING, one.name)},
)
SERIES = TradeSeries(1, MARKET)

Row = tuple[object, ...]


def trade(trade_id: int, time_ms: int) -> Row:
    return START_MS + time_ms, str(trade_id), "buy", 100.0, 1.0, {}


def a_lane(*, counts_trades: bool = True, known_until_ms: int | None = None) -> TradeLane:
    return TradeLane(SERIES, counts_trades=counts_trades, known_until_ms=known_until_ms)


def taken(lane: TradeLane, now_s: float) -> tuple[list[object], list[tuple[int, int]]]:
    """The ids of the rows that are handed over, and the windows, in ms since the start."""
    parcel = lane.take(now_s)
    if parcel is None:
        return [], []
    return [row[1] for row in parcel.rows], [in_ms(window) for window in parcel.windows]  # pyright: ignore[reportUnknownVariableType, reportIndexIssue] -- rows of trades


def in_ms(span: TimeRange) -> tuple[int, int]:
    return to_ms(span[0]) - START_MS, to_ms(span[1]) - START_MS


def test_the_last_millisecond_waits_until_another_has_begun_or_a_second_is_over():
    lane = a_lane()
    for trade_id, time_ms in ((1, 0), (2, 5), (3, 7), (4, 7)):
        lane.add(trade(trade_id, time_ms), 1, now_s=10.0)
    # Of the first millisecond some may have come before.
    assert [in_ms(hole.span) for hole in lane.take_holes()] == [(0, 1)]
    assert taken(lane, 10.5) == (["2"], [(1, 7)])
    assert taken(lane, 10.9) == ([], [])
    assert taken(lane, 11.1) == (["3", "4"], [(7, 8)])


def test_what_is_missed_is_a_hole_from_the_last_millisecond_to_the_first_that_came_after_it():
    lane = a_lane()
    for trade_id, time_ms in ((1, 0), (2, 5), (3, 7), (6, 20), (7, 21)):
        lane.add(trade(trade_id, time_ms), 1, now_s=10.0)
    first, second = lane.take_holes()
    assert in_ms(second.span) == (7, 21)
    assert taken(lane, 10.0) == (["2"], [(1, 7)])
    lane.fill(second)
    # Those at its ends were not claimed, and are not lost.
    # Whoever asks for the rest of their milliseconds proves that it is all: if nobody could, it is missing.
    parcel = lane.take(10.0)
    assert parcel is not None
    assert [row[1] for row in parcel.rows] == ["3", "6"]  # pyright: ignore[reportIndexIssue, reportUnknownVariableType] -- rows of trades
    assert (list(parcel.windows), [in_ms(one) for one in parcel.unproven]) == ([], [(7, 8), (20, 21)])
    lane.fill(first)
    assert taken(lane, 12.0) == (["1", "7"], [(21, 22)])


def test_another_connection_that_goes_on_with_the_next_id_has_missed_nothing():
    lane = a_lane()
    for trade_id, time_ms, link in ((1, 0, 1), (2, 5, 1), (3, 9, 2), (4, 10, 2)):
        lane.add(trade(trade_id, time_ms), link, now_s=10.0)
    assert len(lane.take_holes()) == 1
    assert taken(lane, 10.0) == (["2", "3"], [(1, 10)])


def test_without_counted_ids_another_connection_may_have_missed_something():
    lane = a_lane(counts_trades=False)
    for trade_id, time_ms, link in ((1, 0, 1), (2, 5, 1), (9, 6, 1), (10, 9, 2), (11, 10, 2)):
        lane.add(trade(trade_id, time_ms), link, now_s=10.0)
    assert [in_ms(hole.span) for hole in lane.take_holes()] == [(0, 1), (6, 10)]


def test_what_was_known_before_is_where_the_first_hole_begins():
    lane = a_lane(known_until_ms=START_MS - 500)
    lane.add(trade(1, 0), 1, now_s=10.0)
    assert [in_ms(hole.span) for hole in lane.take_holes()] == [(-500, 1)]


def test_a_trade_that_comes_late_proves_nothing():
    lane = a_lane(counts_trades=False)
    for trade_id, time_ms in ((1, 0), (3, 10), (4, 20)):
        lane.add(trade(trade_id, time_ms), 1, now_s=10.0)
    lane.take(10.0)
    lane.add(trade(2, 5), 1, now_s=10.0)
    assert taken(lane, 10.0) == (["2"], [])


def test_a_time_that_has_not_come_ends_no_run():
    lane = a_lane()
    lane.add(trade(1, 0), 1, now_s=10.0)
    lane.add(trade(2, 5), 1, now_s=10.0)
    lane.add(trade(3, 10**11), 1, now_s=10.0, is_ahead=True)
    lane.add(trade(4, 9), 1, now_s=10.0)
    lane.add(trade(7, 10**11), 1, now_s=10.0, is_ahead=True)
    lane.add(trade(8, 12), 1, now_s=10.0)
    first, second = lane.take_holes()
    assert (in_ms(first.span), in_ms(second.span)) == ((0, 1), (9, 13))
    assert taken(lane, 10.0) == (["3", "7", "2"], [(1, 9)])


def test_a_trade_of_what_is_missing_waits_until_that_was_asked_for():
    lane = a_lane()
    for trade_id, time_ms in ((1, 0), (3, 10), (4, 20), (2, 5)):
        lane.add(trade(trade_id, time_ms), 1, now_s=10.0)
    assert taken(lane, 10.0) == ([], [(11, 20)])
    for hole in lane.take_holes():
        lane.fill(hole)
    assert taken(lane, 10.0) == (["1", "3", "2"], [])


def test_no_run_begins_before_what_came():
    lane = a_lane(counts_trades=False)
    for trade_id, time_ms, link in ((1, 0, 1), (2, 5, 1), (3, -(10**9), 2), (4, 50, 2), (5, 60, 2)):
        lane.add(trade(trade_id, time_ms), link, now_s=10.0)
    assert [in_ms(hole.span) for hole in lane.take_holes()] == [(0, 1), (5, 51)]
    assert taken(lane, 10.0) == (["3"], [(1, 5), (51, 60)])


def test_one_wrong_id_hides_no_hole():
    lane = a_lane()
    for trade_id, time_ms in ((1, 0), (2, 5), (10**15, 6), (4, 10), (9, 20)):
        lane.add(trade(trade_id, time_ms), 1, now_s=10.0)
    assert [in_ms(hole.span) for hole in lane.take_holes()] == [(0, 1), (5, 7), (6, 11), (10, 21)]


def test_a_row_without_a_time_is_handed_over_too():
    lane = a_lane()
    lane.add(trade(1, 0), 1, now_s=10.0)
    lane.add((None, "2", "buy", 1.0, 1.0, {}), 1, now_s=10.0)
    lane.add(trade(3, 4), 1, now_s=10.0)
    lane.close()
    rows, _ = taken(lane, 10.0)
    assert sorted(map(str, rows)) == ["1", "2", "3"]


steps = st.lists(
    st.tuples(
        st.integers(0, 3),  # ms since the trade before
        st.sampled_from(["told", "told", "told", "told", "missed", "twice", "cut"]),
        st.booleans(),  # whether what waits is taken after it
    ),
    max_size=60,
)


@given(steps, st.booleans())
def test_nothing_is_claimed_that_was_not_handed_over(walk: list[tuple[int, str, bool]], counts_trades: bool):
    """Every trade of a claimed window was handed over, or lies in a hole; and every trade that was told is."""
    lane = a_lane(counts_trades=counts_trades)
    now_s, link, time_ms = 0.0, 1, 0
    told, handed, claimed, times = set[int](), set[int](), list[tuple[int, int]](), dict[int, int]()

    def take() -> None:
        rows, windows = taken(lane, now_s)
        handed.update(int(str(one)) for one in rows)
        claimed.extend(windows)

    for number, (gap_ms, how, is_taken) in enumerate(walk):
        time_ms += gap_ms
        now_s += gap_ms / 1000
        times[number] = time_ms
        # What is missed without the connection having been cut is seen by counted ids alone.
        link += how == "cut" or (how == "missed" and not counts_trades)
        for _ in range({"missed": 0, "twice": 2}.get(how, 1)):
            lane.add(trade(number, time_ms), link, now_s)
            told.add(number)
        if is_taken:
            take()
    holes = lane.take_holes()
    take()
    assert lies_in(times, claimed) - handed <= lies_in(times, [in_ms(hole.span) for hole in holes])
    for hole in holes:
        lane.fill(hole)
    lane.close()
    take()
    assert handed == told


def lies_in(times: dict[int, int], spans: list[tuple[int, int]]) -> set[int]:
    return {one for one, at in times.items() if any(start <= at < end for start, end in spans)}
