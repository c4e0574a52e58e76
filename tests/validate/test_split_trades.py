import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import inf, nan

import pytest

from tapehouse.errors import NaiveDatetime, ReversedRange
from tapehouse.ranges import TimeRange
from tapehouse.validate import TradeSplit, split_trades

START = datetime(2025, 1, 1, tzinfo=UTC)
START_MS = 1_735_689_600_000
MILLISECOND = timedelta(milliseconds=1)
INFO = {"as": "received"}


def row(
    ms: float = 0, trade_id: object = "7", side: object = "buy", price: object = 10.5, amount: object = 0.25
) -> tuple[object, ...]:
    return (START_MS + ms, trade_id, side, price, amount, INFO)


def with_time(time_ms: object) -> tuple[object, ...]:
    return (time_ms, *row(0, "3")[1:])


def split(rows: Sequence[object]) -> TradeSplit:
    return split_trades(rows, start=START, end=START + 100 * MILLISECOND)


def ms_of(covered: list[TimeRange]) -> list[tuple[float, float]]:
    return [((start - START) / MILLISECOND, (end - START) / MILLISECOND) for start, end in covered]


def test_clean_rows_pass_with_exact_values():
    outcome = split([row(0, "11", "buy", 0.1, 1e-8), row(0, "12", "sell", 67_123.45, 1e9), row(99, "13", None, 3, 2)])
    assert outcome.good.time_us.tolist() == [START_MS * 1000, START_MS * 1000, (START_MS + 99) * 1000]
    assert outcome.good.trade_id.tolist() == [11, 12, 13]
    assert outcome.good.id_text.tolist() == ["", "", ""]
    assert outcome.good.price.tolist() == [0.1, 67_123.45, 3.0]
    assert outcome.good.amount.tolist() == [1e-8, 1e9, 2.0]
    assert outcome.good.side.tolist() == [1, -1, 0]
    assert outcome.good.side.dtype == "int16"
    assert outcome.rejected == ()
    assert ms_of(outcome.covered) == [(0, 100)]


def test_no_rows_are_an_answer_for_the_whole_window():
    outcome = split([])
    assert len(outcome.good) == 0
    assert outcome.good.id_text.dtype.kind == "U"
    assert ms_of(outcome.covered) == [(0, 100)]


UUID = "c0ffee00-1234-4abc-9def-0123456789ab"


@pytest.mark.parametrize(
    ("given", "number", "text"),
    [
        ("0", 0, ""),
        ("1", 1, ""),
        (5, 5, ""),
        (0, 0, ""),
        (2**63 - 1, 2**63 - 1, ""),
        ("9223372036854775807", 9_223_372_036_854_775_807, ""),
        ("9223372036854775808", 0, "9223372036854775808"),
        (2**63, 0, "9223372036854775808"),
        ("9007199254740993", 9_007_199_254_740_993, ""),
        ("007", 0, "007"),
        ("00", 0, "00"),
        ("-1", 0, "-1"),
        (-1, 0, "-1"),
        ("+1", 0, "+1"),
        ("1_000", 0, "1_000"),
        (" 1", 0, " 1"),
        ("1.0", 0, "1.0"),
        ("１２", 0, "１２"),
        ("²", 0, "²"),
        (UUID, 0, UUID),
        ("TAN7-日本", 0, "TAN7-日本"),
        ("x" * 128, 0, "x" * 128),
    ],
)
@pytest.mark.parametrize("company", [[], [row(50, "8")], [row(50, "other")]])
def test_ids_are_kept_exactly_whatever_stands_beside_them(company: list[object], given: object, number: int, text: str):
    outcome = split([row(3, given), *company])
    assert outcome.rejected == ()
    assert int(outcome.good.trade_id[0]) == number
    assert str(outcome.good.id_text[0]) == text


BAD_ROWS = [
    (row(3, None), ("id_missing",)),
    (row(3, ""), ("id_missing",)),
    (row(3, True), ("id_missing",)),
    (row(3, 7.0), ("id_missing",)),
    (row(3, ["7"]), ("id_missing",)),
    (row(3, "7\x00"), ("id_not_storable",)),
    (row(3, "\x00"), ("id_not_storable",)),
    (row(3, "\ud800"), ("id_not_storable",)),
    (row(3, "x" * 129), ("id_not_storable",)),
    (row(3, "abc "), ("id_not_storable",)),
    (row(3, "7 "), ("id_not_storable",)),
    (row(3, " "), ("id_not_storable",)),
    (row(3, 10**200), ("id_not_storable",)),
    (row(3, 10**5000), ("id_not_storable",)),
    (row(3, "1" * 5000), ("id_not_storable",)),
    (row(3, price=nan), ("price_not_finite",)),
    (row(3, price=inf), ("price_not_finite",)),
    (row(3, price=-inf), ("price_not_finite", "price_not_positive")),
    (row(3, price=None), ("price_not_finite",)),
    (row(3, price="abc"), ("price_not_finite",)),
    (row(3, price=True), ("price_not_finite",)),
    (row(3, price="1_1"), ("price_not_finite",)),
    (row(3, price=10**400), ("price_not_finite",)),
    (row(3, price=0), ("price_not_positive",)),
    (row(3, price=-2), ("price_not_positive",)),
    (row(3, amount=nan), ("amount_not_finite",)),
    (row(3, amount=None), ("amount_not_finite",)),
    (row(3, amount=[1]), ("amount_not_finite",)),
    (row(3, amount=0.0), ("amount_not_positive",)),
    (row(3, amount=-1e-9), ("amount_not_positive",)),
    (row(3, side="BUY"), ("side_not_buy_or_sell",)),
    (row(3, side=""), ("side_not_buy_or_sell",)),
    (row(3, side=1), ("side_not_buy_or_sell",)),
    (row(3, side=["buy"]), ("side_not_buy_or_sell",)),
    (row(3, None, "hold", 0, None), ("id_missing", "price_not_positive", "amount_not_finite", "side_not_buy_or_sell")),
]


@pytest.mark.parametrize(("bad", "reasons"), BAD_ROWS)
def test_a_bad_row_is_rejected_by_name_and_its_millisecond_stays_open(bad: object, reasons: tuple[str, ...]):
    outcome = split([row(2, "2"), bad, row(4, "4")])
    assert [reject.reasons for reject in outcome.rejected] == [reasons]
    assert outcome.rejected[0].time == START + 3 * MILLISECOND
    assert outcome.rejected[0].raw == INFO
    assert outcome.good.trade_id.tolist() == [2, 4]
    assert ms_of(outcome.covered) == [(0, 3), (4, 100)]


UNPLACEABLE_ROWS: list[tuple[object, str]] = [
    (None, "not_a_row"),
    ("<html>", "not_a_row"),
    ({"price": 1}, "not_a_row"),
    (list(row(3)), "not_a_row"),  # what came as JSON and what ccxt parsed must not be mistaken for each other
    (row(3)[:5], "not_a_row"),
    ((*row(3), 7), "not_a_row"),
    ((), "not_a_row"),
    (with_time(None), "time_missing"),
    (with_time("soon"), "time_missing"),
    (with_time(True), "time_missing"),
    (with_time(nan), "time_missing"),
    (with_time(-5), "time_not_believable"),
    (with_time(START_MS // 1000), "time_not_believable"),
    (with_time(START_MS * 1000), "time_not_believable"),
    (with_time(1e300), "time_not_believable"),
    (with_time(inf), "time_not_believable"),
]


@pytest.mark.parametrize(("bad", "reason"), UNPLACEABLE_ROWS)
def test_a_row_that_tells_no_time_opens_all_between_the_good_rows_received_around_it(bad: object, reason: str):
    outcome = split([row(1, "1"), row(20, "20"), bad, row(70, "70"), row(90, "90")])
    assert outcome.rejected[0].reasons == (reason,)
    assert outcome.rejected[0].time is None
    assert len(outcome.good) == 4
    assert ms_of(outcome.covered) == [(0, 20), (71, 100)]


@pytest.mark.parametrize(
    ("rows", "covered"),
    [
        ([None, row(20), row(30, "8")], [(21, 100)]),
        ([row(20), row(30, "8"), None], [(0, 30)]),
        # Newest first, as exchanges answer that are walked backwards.
        ([row(90), None, row(20, "8"), row(10, "9")], [(0, 20), (91, 100)]),
        ([None, row(90), row(20, "8")], [(0, 90)]),
        ([row(90), row(20, "8"), None], [(21, 100)]),
        ([row(10), None, row(20, "8"), None, None, row(30, "9"), row(31, "10")], [(0, 10), (31, 100)]),
        # Of a bad row that tells its time but is out of order nothing else is asked.
        ([row(20), row(5, "x", price=0), None, row(30, "8")], [(0, 5), (6, 20), (31, 100)]),
        # Nothing good, a single time, or no order to go by: it may be any trade.
        ([None], []),
        ([row(50), None], []),
        ([row(50), None, row(50, "8")], []),
        ([row(50), row(20, "8"), None, row(30, "9")], []),
        ([row(200), None], []),
    ],
)
def test_where_a_row_without_time_may_belong(rows: list[object], covered: list[tuple[int, int]]):
    assert ms_of(split(rows).covered) == covered


def test_neighbours_in_one_millisecond_leave_only_that_millisecond_open():
    outcome = split([row(10, "1"), row(20, "2"), None, row(20, "3"), row(30, "4")])
    assert ms_of(outcome.covered) == [(0, 20), (21, 100)]


@pytest.mark.parametrize("ms", [-1, 100, 10**10])
def test_a_row_outside_the_window_is_rejected_and_takes_no_coverage_away(ms: int):
    outcome = split([row(0, "1"), row(ms, "2")])
    assert [reject.reasons for reject in outcome.rejected] == [("time_outside_window",)]
    assert outcome.rejected[0].time == START + ms * MILLISECOND
    assert ms_of(outcome.covered) == [(0, 100)]


@pytest.mark.parametrize("bad", [row(40, "5", price=0), row(41, "5", price=0), (None, *row(40, "5")[1:])])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_bad_row_whose_trade_came_whole_as_well_leaves_nothing_open(bad: object, order: tuple[int, int]):
    pair = [row(40, "5"), bad]
    outcome = split([pair[position] for position in order])
    assert outcome.good.trade_id.tolist() == [5]
    assert len(outcome.rejected) == 1
    assert ms_of(outcome.covered) == [(0, 100)]


@pytest.mark.parametrize("nameless", [None, "", "0\x00"])
def test_a_row_without_an_id_is_not_taken_for_trade_0(nameless: object):
    outcome = split([row(10, "0"), row(40, nameless)])
    assert ms_of(outcome.covered) == [(0, 40), (41, 100)]


def test_a_fraction_of_a_millisecond_is_kept_and_its_whole_millisecond_opened():
    outcome = split([row(3.25, "1"), row(7.5, "2", price=0)])
    assert outcome.good.time_us.tolist() == [START_MS * 1000 + 3250]
    assert ms_of(outcome.covered) == [(0, 7), (8, 100)]


@pytest.mark.parametrize(
    ("ms", "offset_us"), [(0.123, 123), (0.125, 125), (0.1237, 124), (0.1232, 123), (99.9993, 99_999)]
)
def test_a_time_is_that_of_the_nearest_microsecond(ms: float, offset_us: int):
    assert split([row(ms, "1")]).good.time_us.tolist() == [START_MS * 1000 + offset_us]


def test_numeric_strings_count_as_the_numbers_they_write():
    outcome = split([(str(START_MS), "1", "sell", "0.30000000000000004", " 1e-1 ", INFO)])
    assert outcome.rejected == ()
    assert outcome.good.price.tolist() == [0.30000000000000004]
    assert outcome.good.amount.tolist() == [0.1]


def test_rows_are_sorted_by_time_then_number_then_text():
    rows = [row(5, "b"), row(5, "10"), row(1, "99"), row(5, "9"), row(5, "a"), row(5, "0")]
    good = split(rows).good
    assert [time_us - START_MS * 1000 for time_us in good.time_us.tolist()] == [1000, *[5000] * 5]
    assert good.trade_id.tolist() == [99, 0, 0, 0, 9, 10]
    assert good.id_text.tolist() == ["", "", "a", "b", "", ""]


def test_the_last_good_row_of_a_time_and_id_wins():
    rows = [row(5, "1", price=1), row(5, "a", price=2), row(5, "1", price=3), row(5, 1, price=4), row(5, "a", price=5)]
    outcome = split([*rows, row(5, "1", price=-1), row(6, "1", price=6)])
    assert outcome.good.price.tolist() == [5.0, 4.0, 6.0]
    assert outcome.good.id_text.tolist() == ["a", "", ""]


def test_thousands_of_trades_in_one_millisecond_stay_apart():
    rows = [row(5, str(trade_id)) for trade_id in range(5000, 0, -1)]
    assert split(rows).good.trade_id.tolist() == list(range(1, 5001))


def test_rejects_keep_the_order_received_and_can_be_stored_as_json():
    rows = [(*row(1, "1", price=nan)[:5], {"p": nan}), "a\x00b\ud800", [1, None], (*row(2, "2", side=0)[:5], [inf])]
    outcome = split(rows)
    stored = json.loads(json.dumps([reject.raw for reject in outcome.rejected], allow_nan=False).encode())
    assert stored == [{"p": "nan"}, "a\ufffdb?", [1, None], ["inf"]]


@pytest.mark.parametrize("as_row", [True, False])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_a_row_nested_as_deep_as_json_goes_is_a_reject(as_row: bool, opening: str, closing: str):
    deep = json.loads(opening * 600 + "7" + closing * 600)
    outcome = split([deep if as_row else (*row(3, price=0)[:5], deep), row(5, "5")])
    assert len(outcome.rejected) == len(outcome.good) == 1
    stored = json.dumps(outcome.rejected[0].raw)
    assert stored.replace(" ", "") == (opening * 50 + '"(nestedtoodeeptokeep)"' + closing * 50).replace(" ", "")


def test_a_row_nested_less_is_kept_whole():
    nested = json.loads("[" * 50 + "7" + "]" * 50)
    assert split([nested]).rejected[0].raw == nested


def test_bounds_without_zone_or_in_the_wrong_order_are_refused():
    with pytest.raises(NaiveDatetime):
        split_trades([], start=datetime(2025, 1, 1), end=START)  # noqa: DTZ001 -- that is the fault
    with pytest.raises(ReversedRange):
        split_trades([], start=START, end=START)
