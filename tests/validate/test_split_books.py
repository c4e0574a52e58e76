import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any

import pytest

from tapehouse.book import BookBatch, BookSample
from tapehouse.timeframe import to_us
from tapehouse.validate import split_books

START = datetime(2025, 1, 1, tzinfo=UTC)
START_MS = 1_735_689_600_000
SECOND = timedelta(seconds=1)
BIDS: Sequence[object] = [[99.5, 1.0], [99.0, 2.0], [98.0, 3.0]]
ASKS: Sequence[object] = [[100.0, 4.0], [100.5, 5.0]]


def sample(
    second: int = 0,
    bids: Any = BIDS,
    asks: Any = ASKS,
    *,
    exchange_ms: Any = "from second",
    nonce: Any = None,
    raw: object = None,
) -> BookSample:
    """A book whose exchange's time is that second, received by our clock 250 ms later."""
    at = START + second * SECOND
    told = to_us(at) // 1000 if exchange_ms == "from second" else exchange_ms
    return BookSample(bids, asks, told, nonce, at + timedelta(milliseconds=250), at, raw)


def books_of(batch: BookBatch) -> list[tuple[list[tuple[float, float]], list[tuple[float, float]]]]:
    """The levels of each snapshot as [(price, amount), ...] of bids and of asks."""
    bids = list(zip(batch.bid_price.tolist(), batch.bid_amount.tolist(), strict=True))
    asks = list(zip(batch.ask_price.tolist(), batch.ask_amount.tolist(), strict=True))
    books: list[tuple[list[tuple[float, float]], list[tuple[float, float]]]] = []
    for bid_count, ask_count in zip(batch.bid_count.tolist(), batch.ask_count.tolist(), strict=True):
        books.append((bids[:bid_count], asks[:ask_count]))
        bids, asks = bids[bid_count:], asks[ask_count:]
    assert (bids, asks) == ([], [])
    return books


def test_a_clean_book_passes_with_exact_values():
    outcome = split_books([sample(bids=[[0.1, 1e-8]], asks=[[0.30000000000000004, 1e9], [67_123.45, 2]])], depth=20)
    assert outcome.rejected == ()
    assert books_of(outcome.good) == [([(0.1, 1e-8)], [(0.30000000000000004, 1e9), (67_123.45, 2.0)])]
    assert outcome.good.time_us.tolist() == [START_MS * 1000]
    assert outcome.good.received_us.tolist() == [START_MS * 1000 + 250_000]
    assert outcome.good.nonce.tolist() == [-1]


def test_no_samples_are_no_snapshots():
    outcome = split_books([], depth=20)
    assert len(outcome.good) == 0
    assert books_of(outcome.good) == []


def test_sides_of_different_lengths_stay_with_their_snapshots():
    samples = [sample(3, BIDS[:1]), sample(1, BIDS, ASKS[:1]), sample(2, BIDS[:2], [*ASKS, [101.0, 6.0], [102.0, 7.0]])]
    outcome = split_books(samples, depth=20)
    assert outcome.good.time_us.tolist() == [to_us(START + second * SECOND) for second in (1, 2, 3)]
    assert books_of(outcome.good) == [
        ([(99.5, 1.0), (99.0, 2.0), (98.0, 3.0)], [(100.0, 4.0)]),
        ([(99.5, 1.0), (99.0, 2.0)], [(100.0, 4.0), (100.5, 5.0), (101.0, 6.0), (102.0, 7.0)]),
        ([(99.5, 1.0)], [(100.0, 4.0), (100.5, 5.0)]),
    ]


BAD_BOOKS: list[tuple[BookSample, tuple[str, ...]]] = [
    (sample(bids=[]), ("bids_missing",)),
    (sample(asks=[]), ("asks_missing",)),
    (sample(bids=[], asks=[]), ("bids_missing", "asks_missing")),
    (sample(bids=None), ("bids_missing",)),
    (sample(asks={"100": 1}), ("asks_missing",)),
    (sample(bids="ab"), ("bids_missing",)),
    (sample(bids=[[99.5]]), ("level_not_a_pair",)),
    (sample(bids=[99.5, 1.0]), ("level_not_a_pair",)),
    (sample(asks=[None, *ASKS]), ("level_not_a_pair",)),
    (sample(asks=[*ASKS, "ab"]), ("level_not_a_pair",)),
    (sample(asks=[*ASKS, {"price": 101, "amount": 1}]), ("level_not_a_pair",)),
    (sample(bids=[[nan, 1.0]]), ("price_not_finite",)),
    (sample(bids=[[None, 1.0]]), ("price_not_finite",)),
    (sample(bids=[[True, 1.0]]), ("price_not_finite",)),
    (sample(bids=[*BIDS, ["low", 1.0]]), ("price_not_finite",)),
    (sample(asks=[*ASKS, [inf, 1.0]]), ("price_not_finite",)),
    (sample(asks=[*ASKS, [10**400, 1.0]]), ("price_not_finite",)),
    (sample(bids=[*BIDS, [-inf, 1.0]]), ("price_not_finite", "price_not_positive")),
    (sample(bids=[*BIDS, [0, 1.0]]), ("price_not_positive",)),
    (sample(bids=[*BIDS, [-5.0, 1.0]]), ("price_not_positive",)),
    (sample(bids=[*BIDS, [97.0, nan]]), ("amount_not_finite",)),
    (sample(bids=[*BIDS, [97.0, None]]), ("amount_not_finite",)),
    (sample(asks=[*ASKS, [101.0, inf]]), ("amount_not_finite",)),
    (sample(asks=[*ASKS, [101.0, 0.0]]), ("amount_not_positive",)),
    (sample(asks=[*ASKS, [101.0, -1]]), ("amount_not_positive",)),
    (sample(bids=[[99.0, 1.0], [99.5, 1.0]]), ("bids_not_descending",)),
    (sample(bids=[[99.0, 1.0], [99.0, 2.0]]), ("bids_not_descending",)),
    (sample(asks=[[101.0, 1.0], [100.5, 1.0]]), ("asks_not_ascending",)),
    (sample(asks=[[101.0, 1.0], [101.0, 1.0]]), ("asks_not_ascending",)),
    (sample(bids=[[100.0, 1.0]]), ("crossed",)),
    (sample(bids=[[100.5, 1.0]]), ("crossed",)),
    (sample(bids=[["100.5", "1"]]), ("crossed",)),
    (sample(bids=[[1.0, 1.0], [2.0, 0.0]], asks=[[2.0, None], [1.0]]), (
        "level_not_a_pair", "amount_not_finite", "amount_not_positive", "bids_not_descending",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "reasons"), BAD_BOOKS)
def test_a_bad_book_is_rejected_by_name_and_its_neighbours_stay(bad: BookSample, reasons: tuple[str, ...]):
    outcome = split_books([sample(-1), bad, sample(1)], depth=20)
    assert [reject.reasons for reject in outcome.rejected] == [reasons]
    assert outcome.rejected[0].time == START
    assert outcome.good.time_us.tolist() == [to_us(START - SECOND), to_us(START + SECOND)]
    assert books_of(outcome.good) == books_of(split_books([sample(-1), sample(1)], depth=20).good)


@pytest.mark.parametrize("exchange_ms", [0, -1, START_MS // 1000, START_MS * 1000, 10**30, nan, "soon", True])
def test_a_time_that_no_book_could_have_is_rejected(exchange_ms: object):
    outcome = split_books([sample(exchange_ms=exchange_ms, raw={"ts": 1})], depth=20)
    assert [(reject.time, reject.reasons) for reject in outcome.rejected] == [(None, ("time_not_believable",))]
    assert outcome.rejected[0].raw == {"ts": 1}
    assert len(outcome.good) == 0


def test_without_a_time_of_its_own_a_book_is_of_the_exchanges_clock_when_it_came():
    told = BookSample(BIDS, ASKS, START_MS - 40, 7, START, START + timedelta(microseconds=1234), None)
    untold = BookSample(BIDS, ASKS, None, 8, START, START + timedelta(microseconds=1234), None)
    good = split_books([told, untold], depth=20).good
    assert good.time_us.tolist() == [(START_MS - 40) * 1000, START_MS * 1000 + 1234]
    assert good.received_us.tolist() == [START_MS * 1000] * 2
    assert good.nonce.tolist() == [7, 8]


@pytest.mark.parametrize(
    ("nonce", "kept"), [(0, 0), (2**63 - 1, 2**63 - 1), (None, -1), (2**63, -1), (-5, -1), ("7", -1), (True, -1)]
)
def test_a_nonce_is_kept_where_it_is_a_whole_number_that_fits(nonce: object, kept: int):
    assert split_books([sample(nonce=nonce)], depth=20).good.nonce.tolist() == [kept]


def test_levels_beyond_the_depth_are_neither_kept_nor_looked_at():
    noise: list[object] = [None, [1.0], [nan, nan], [200.0, -1]]
    outcome = split_books([sample(bids=[*BIDS[:2], *noise], asks=(*ASKS, *noise))], depth=2)
    assert outcome.rejected == ()
    assert books_of(outcome.good) == [([(99.5, 1.0), (99.0, 2.0)], [(100.0, 4.0), (100.5, 5.0)])]


def test_cells_beyond_price_and_amount_are_left_alone_and_strings_read():
    outcome = split_books([sample(bids=[["99.5", "1e-1", 1_557_000_000], (99, 2, None, "x")])], depth=20)
    assert books_of(outcome.good) == [([(99.5, 0.1), (99.0, 2.0)], [(100.0, 4.0), (100.5, 5.0)])]


def test_the_last_good_book_of_a_time_wins():
    samples = [sample(5, [[1.0, 1.0]]), sample(4, [[2.0, 1.0]]), sample(5, [[3.0, 1.0]]), sample(5, [[1000.0, 1.0]])]
    outcome = split_books(samples, depth=20)
    assert [bids for bids, _ in books_of(outcome.good)] == [[(2.0, 1.0)], [(3.0, 1.0)]]
    assert [reject.reasons for reject in outcome.rejected] == [("crossed",)]


@pytest.mark.parametrize(
    ("prices", "known_since"),
    [
        ([1.0, 1.0, 1.0], 0),
        ([2.0, 1.0, 1.0], 1),
        ([1.0, 2.0, 1.0], 2),
        ([1.0, 1.0, 2.0], 2),
        ([1.0, 1000.0, 1.0], 0),  # the crossed one between them is none
    ],
)
@pytest.mark.parametrize("side", ["bids", "asks", "amount"])
def test_equal_books_of_a_time_were_known_since_the_first_of_them(prices: list[float], known_since: int, side: str):
    def levels_of(price: float) -> dict[str, Any]:
        crossed = {"bids": [[1000.0, 1.0]]} if price == 1000 else {}
        changing: dict[str, Any] = {
            "bids": {"bids": [[90 + price, 1.0]]},
            "asks": {"asks": [*ASKS, [100.5 + price, 1.0]]},
            "amount": {"bids": [[99.0, price]]},
        }
        return changing[side] | crossed

    samples = [
        sample(4 * tick, **levels_of(price), exchange_ms=START_MS - 7, nonce=tick) for tick, price in enumerate(prices)
    ]
    good = split_books([*samples, sample(20)], depth=20).good
    assert good.time_us.tolist() == [START_MS * 1000 - 7000, START_MS * 1000 + 20_000_000]
    assert good.received_us[0] == START_MS * 1000 + 4_000_000 * known_since + 250_000
    assert good.nonce[0] == known_since


def test_levels_that_are_shared_out_differently_are_not_equal():
    first = sample(0, [[99.0, 1.0]], [[100.0, 1.0], [101.0, 1.0]], exchange_ms=START_MS, nonce=1)
    second = sample(1, [[99.0, 1.0]], [[100.0, 1.0]], exchange_ms=START_MS, nonce=2)
    assert split_books([first, second], depth=20).good.nonce.tolist() == [2]
    assert split_books([first, second], depth=1).good.nonce.tolist() == [1]


def test_rejects_keep_the_order_received_and_can_be_stored_as_json():
    samples = [
        sample(9, [], raw={"bids": nan}),
        sample(3, asks=[], raw="a\x00"),
        sample(5),
        sample(1, [], raw=(1, inf)),
    ]
    outcome = split_books(samples, depth=20)
    stored = json.loads(json.dumps([reject.raw for reject in outcome.rejected], allow_nan=False).encode())
    assert stored == [{"bids": "nan"}, "a\ufffd", [1, "inf"]]


@pytest.mark.parametrize(
    ("ahead_s", "reasons"),
    [
        (-86_400, ()),
        (-86_401, ("time_far_from_clock",)),
        (60, ()),
        (61, ("time_far_from_clock",)),
        (86_400 * 365 * 20, ("time_far_from_clock",)),
    ],
)
def test_a_time_far_from_the_exchanges_clock_is_rejected(ahead_s: int, reasons: tuple[str, ...]):
    outcome = split_books([sample(exchange_ms=START_MS + 1000 * ahead_s)], depth=20)
    assert [reject.reasons for reject in outcome.rejected] == ([reasons] if reasons else [])


def test_it_is_told_which_samples_passed_and_their_times():
    crossed: Any = [[100.0, 1.0]]
    outcome = split_books([sample(0), sample(0, bids=crossed), sample(0), sample(2)], depth=20)
    assert outcome.passed.tolist() == [True, False, True, True]
    assert outcome.time_us[outcome.passed].tolist() == [START_MS * 1000] * 2 + [START_MS * 1000 + 2_000_000]
    assert len(outcome.good) == 2
