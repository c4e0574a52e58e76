import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest

from tapehouse.errors import NaiveDatetime, ReversedRange
from tapehouse.timeframe import timeframe, to_us
from tapehouse.validate import CandleSplit, split_candles

START = datetime(2025, 1, 1, tzinfo=UTC)
START_MS = 1_735_689_600_000
MINUTE = timedelta(minutes=1)
ONE_MINUTE = timeframe("1m")


def row(
    minute: float = 0, *, o: object = 10.0, h: object = 12.0, low: object = 9.0, c: object = 11.0, v: object = 1.5
) -> list[object]:
    return [START_MS + round(minute * 60_000), o, h, low, c, v]


def split(rows: Sequence[object]) -> CandleSplit:
    return split_candles(rows, ONE_MINUTE, start=START, end=START + 10 * MINUTE)


def minutes_of(covered: list[tuple[datetime, datetime]]) -> list[tuple[float, float]]:
    return [((start - START) / MINUTE, (end - START) / MINUTE) for start, end in covered]


def test_clean_rows_pass_with_exact_values():
    outcome = split([row(0, o=0.1, h=0.3, low=0.1, c=0.2, v=0), row(1, o=67_123.45, h=67_123.45, low=1e-8, c=3, v=1e9)])
    assert outcome.good.time_us.tolist() == [START_MS * 1000, (START_MS + 60_000) * 1000]
    assert outcome.good.open.tolist() == [0.1, 67_123.45]
    assert outcome.good.high.tolist() == [0.3, 67_123.45]
    assert outcome.good.low.tolist() == [0.1, 1e-8]
    assert outcome.good.close.tolist() == [0.2, 3.0]
    assert outcome.good.volume.tolist() == [0.0, 1e9]
    assert outcome.rejected == ()


def test_no_rows_are_an_answer_for_the_whole_window():
    outcome = split([])
    assert len(outcome.good) == 0
    assert minutes_of(outcome.covered) == [(0, 10)]


BAD_ROWS = [
    (row(3, o=nan), ("price_not_finite",)),
    (row(3, h=inf), ("price_not_finite",)),
    (row(3, low=-inf), ("price_not_finite", "price_not_positive")),
    (row(3, c=None), ("price_not_finite",)),
    (row(3, c="abc"), ("price_not_finite",)),
    (row(3, c=True), ("price_not_finite",)),
    (row(3, c=[11.0]), ("price_not_finite",)),
    (row(3, c="1_1"), ("price_not_finite",)),
    (row(3, c=10**400), ("price_not_finite",)),
    (row(3, low=0), ("price_not_positive",)),
    (row(3, o=-1, low=-2), ("price_not_positive",)),
    (row(3, h=10.5), ("high_below_open_close_low",)),
    (row(3, low=10.5), ("low_above_open_close_high",)),
    (row(3, h=8, low=13), ("high_below_open_close_low", "low_above_open_close_high")),
    (row(3, v=nan), ("volume_not_finite",)),
    (row(3, v=None), ("volume_not_finite",)),
    (row(3, v=False), ("volume_not_finite",)),
    (row(3, v=-0.001), ("volume_negative",)),
    (row(3, o=None, v=-1), ("price_not_finite", "volume_negative")),
]


@pytest.mark.parametrize(("bad", "reasons"), BAD_ROWS)
def test_a_bad_row_is_rejected_by_name_and_its_interval_stays_open(bad: list[object], reasons: tuple[str, ...]):
    outcome = split([row(2), bad, row(4)])
    assert [reject.reasons for reject in outcome.rejected] == [reasons]
    assert outcome.rejected[0].time == START + 3 * MINUTE
    assert outcome.good.time_us.tolist() == [to_us(START + 2 * MINUTE), to_us(START + 4 * MINUTE)]
    assert minutes_of(outcome.covered) == [(0, 3), (4, 10)]


UNPLACEABLE_ROWS: list[tuple[object, str]] = [
    (None, "not_a_row"),
    ("<html>", "not_a_row"),
    ({"open": 1}, "not_a_row"),
    (row(3)[:5], "not_a_row"),
    ([*row(3), 7], "not_a_row"),
    ([], "not_a_row"),
    ([None] * 6, "time_missing"),
    (["soon", *row(3)[1:]], "time_missing"),
    ([True, *row(3)[1:]], "time_missing"),
    ([nan, *row(3)[1:]], "time_missing"),
    ([-5, *row(3)[1:]], "time_not_believable"),
    ([START_MS // 1000, *row(3)[1:]], "time_not_believable"),
    ([START_MS * 1000, *row(3)[1:]], "time_not_believable"),
    ([1e300, *row(3)[1:]], "time_not_believable"),
    ([inf, *row(3)[1:]], "time_not_believable"),
]


@pytest.mark.parametrize(("bad", "reason"), UNPLACEABLE_ROWS)
def test_with_a_row_that_tells_no_time_only_good_rows_are_covered(bad: object, reason: str):
    outcome = split([row(1), row(2), bad, row(7)])
    assert outcome.rejected[0].reasons[0] == reason
    assert outcome.rejected[0].time is None
    assert len(outcome.good) == 3
    assert minutes_of(outcome.covered) == [(1, 3), (7, 8)]


@pytest.mark.parametrize("minute", [3.5, 3 + 1 / 60_000])
def test_a_misaligned_row_is_rejected_and_leaves_only_good_rows_covered(minute: float):
    outcome = split([row(2), row(minute)])
    assert [reject.reasons for reject in outcome.rejected] == [("time_not_aligned",)]
    assert minutes_of(outcome.covered) == [(2, 3)]


def test_a_fraction_of_a_millisecond_is_not_rounded_away():
    outcome = split([[START_MS + 0.0005, *row()[1:]]])
    assert outcome.rejected[0].reasons == ("time_not_aligned",)


@pytest.mark.parametrize("minute", [-1, 10, 60 * 24 * 365 * 20])
def test_a_row_outside_the_window_is_rejected_and_takes_no_coverage_away(minute: int):
    outcome = split([row(0), row(minute)])
    assert [reject.reasons for reject in outcome.rejected] == [("time_outside_window",)]
    assert outcome.rejected[0].time == START + minute * MINUTE
    assert minutes_of(outcome.covered) == [(0, 10)]


def test_numeric_strings_count_as_the_numbers_they_write():
    outcome = split([[str(START_MS), "0.1", "0.30000000000000004", "1e-1", " 0.2 ", "7"]])
    assert outcome.rejected == ()
    assert outcome.good.high.tolist() == [0.30000000000000004]
    assert outcome.good.low.tolist() == [0.1]


def test_rows_are_sorted_and_the_last_good_row_of_a_time_wins():
    outcome = split([row(5, c=10.0), row(1), row(5, c=10.5), row(1), row(5, c=9.5)])
    assert outcome.good.time_us.tolist() == [to_us(START + MINUTE), to_us(START + 5 * MINUTE)]
    assert outcome.good.close.tolist() == [11.0, 9.5]
    assert outcome.rejected == ()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_bad_duplicate_is_quarantined_and_the_good_one_stays(order: tuple[int, int]):
    pair: list[object] = [row(4), row(4, v=-1)]
    outcome = split([pair[position] for position in order])
    assert outcome.good.time_us.tolist() == [to_us(START + 4 * MINUTE)]
    assert [reject.raw for reject in outcome.rejected] == [row(4, v=-1)]
    assert minutes_of(outcome.covered) == [(0, 10)]


def test_rejects_keep_the_order_received_and_can_be_stored_as_json():
    rows = [row(1, o=nan, h=inf), "a\x00b\ud800", {"key": [1, None]}, (1, 2), row(2, c=-1)]
    outcome = split(rows)
    stored = json.loads(json.dumps([reject.raw for reject in outcome.rejected], allow_nan=False).encode())
    assert stored == [
        [START_MS + 60_000, "nan", "inf", 9.0, 11.0, 1.5],
        "a\ufffdb?",
        {"key": [1, None]},
        [1, 2],
        [START_MS + 120_000, 10.0, 12.0, 9.0, -1, 1.5],
    ]


def test_coverage_ends_with_the_window_where_the_last_candle_reaches_beyond():
    start, end = START + timedelta(seconds=30), START + timedelta(minutes=2, seconds=30)
    outcome = split_candles([row(1), row(2, v=-1)], ONE_MINUTE, start=start, end=end)
    assert outcome.covered == [(start, START + 2 * MINUTE)]
    unplaced = split_candles([row(2), None], ONE_MINUTE, start=start, end=end)
    assert unplaced.covered == [(START + 2 * MINUTE, end)]


def test_months_are_covered_by_their_true_lengths():
    february, march, april = (datetime(2024, month, 1, tzinfo=UTC) for month in (2, 3, 4))
    rows = [[to_us(month) // 1000, *row()[1:]] for month in (february, march)]
    window = {"start": datetime(2024, 1, 1, tzinfo=UTC), "end": datetime(2025, 1, 1, tzinfo=UTC)}
    outcome = split_candles([*rows, None], timeframe("1M"), **window)
    assert outcome.covered == [(february, april)]


def test_bounds_without_zone_or_in_the_wrong_order_are_refused():
    with pytest.raises(NaiveDatetime):
        split_candles([], ONE_MINUTE, start=datetime(2025, 1, 1), end=START)  # noqa: DTZ001 -- that is the fault
    with pytest.raises(ReversedRange):
        split_candles([], ONE_MINUTE, start=START, end=START)
