from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.book import NO_NONCE, BookBatch
from tapehouse.features.book import book_features

# Prices and amounts, best first.
Side = list[tuple[int, int]]
Snapshot = tuple[Side, Side]

COLUMNS = {
    *("bid_price", "bid_amount", "ask_price", "ask_amount", "mid", "spread", "microprice"),
    *("bid_amount_5", "ask_amount_5", "bid_amount_20", "ask_amount_20"),
    *("bid_depth_5bp", "bid_depth_10bp", "bid_depth_25bp", "bid_depth_50bp"),
    *("ask_depth_5bp", "ask_depth_10bp", "ask_depth_25bp", "ask_depth_50bp"),
    *("imbalance_5bp", "imbalance_10bp", "imbalance_25bp", "imbalance_50bp"),
}


def batch(snapshots: Sequence[Snapshot]) -> BookBatch:
    bids, asks = ([one[side] for one in snapshots] for side in (0, 1))
    bid_levels, ask_levels = (
        np.array([level for side in sides for level in side], dtype=np.float64).reshape(-1, 2) for sides in (bids, asks)
    )
    times = np.arange(len(snapshots), dtype=np.int64)
    return BookBatch(
        times,
        times,
        np.full(len(times), NO_NONCE, dtype=np.int64),
        np.array([len(side) for side in bids], dtype=np.int64),
        np.array([len(side) for side in asks], dtype=np.int64),
        bid_levels[:, 0],
        bid_levels[:, 1],
        ask_levels[:, 0],
        ask_levels[:, 1],
    )


def by_hand(snapshot: Snapshot) -> dict[str, Fraction | None]:
    """The features of one snapshot in exact fractions, each as its definition says."""
    bids, asks = snapshot
    (bid, bid_amount), (ask, ask_amount) = bids[0], asks[0]
    mid = Fraction(bid + ask, 2)
    features: dict[str, Fraction | None] = {
        "bid_price": Fraction(bid),
        "bid_amount": Fraction(bid_amount),
        "ask_price": Fraction(ask),
        "ask_amount": Fraction(ask_amount),
        "mid": mid,
        "spread": Fraction(ask - bid),
        "microprice": Fraction(bid * ask_amount + ask * bid_amount, bid_amount + ask_amount),
    }
    for levels in (5, 20):
        features[f"bid_amount_{levels}"] = Fraction(sum(amount for _, amount in bids[:levels]))
        features[f"ask_amount_{levels}"] = Fraction(sum(amount for _, amount in asks[:levels]))
    for band_bp in (5, 10, 25, 50):
        width = mid * Fraction(band_bp, 10_000)
        demand = sum(amount for price, amount in bids if mid - price <= width)
        supply = sum(amount for price, amount in asks if price - mid <= width)
        features[f"bid_depth_{band_bp}bp"] = Fraction(demand)
        features[f"ask_depth_{band_bp}bp"] = Fraction(supply)
        both = demand + supply
        features[f"imbalance_{band_bp}bp"] = Fraction(demand - supply, both) if both else None
    return features


def as_float(value: Fraction | None) -> float:
    return float("nan") if value is None else float(value)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Books with spreads and gaps that put levels inside, outside and right at the bands."""
    best_bid = draw(st.integers(200_000, 10_000_000))
    gaps = st.lists(st.integers(1, best_bid // 500), max_size=24)
    amounts = st.integers(1, 2**45)
    bids, asks = [best_bid], [best_bid + draw(st.integers(1, best_bid // 300))]
    for gap in draw(gaps):
        bids.append(bids[-1] - gap)
    for gap in draw(gaps):
        asks.append(asks[-1] + gap)
    return [(price, draw(amounts)) for price in bids if price > 0], [(price, draw(amounts)) for price in asks]


@given(books=st.lists(snapshots(), max_size=6))
def test_features_equal_those_worked_out_in_fractions(books: list[Snapshot]):
    features = book_features(batch(books))
    assert set(features) == COLUMNS
    for name, values in features.items():
        expected = np.array([as_float(by_hand(book)[name]) for book in books], dtype=np.float64)
        # A microprice is rounded in each of its steps, all else is exact or rounded once.
        tolerance = 1e-15 if name == "microprice" else 0
        np.testing.assert_allclose(values, expected, rtol=tolerance, atol=0, err_msg=name)


def test_the_bounds_of_a_band_are_inclusive():
    bids: Side = [(99_999, 1), (99_950, 2), (99_949, 4), (99_900, 8), (99_750, 16), (99_500, 32), (99_499, 64)]
    asks: Side = [
        (100_001, 1),
        (100_050, 3),
        (100_051, 9),
        (100_100, 27),
        (100_250, 81),
        (100_500, 243),
        (100_501, 729),
    ]
    features = book_features(batch([(bids, asks)]))
    assert {name: values.tolist() for name, values in features.items() if "depth" in name} == {
        "bid_depth_5bp": [3],
        "ask_depth_5bp": [4],
        "bid_depth_10bp": [15],
        "ask_depth_10bp": [40],
        "bid_depth_25bp": [31],
        "ask_depth_25bp": [121],
        "bid_depth_50bp": [63],
        "ask_depth_50bp": [364],
    }
    assert features["imbalance_10bp"].tolist() == [-25 / 55]


def test_a_spread_wider_than_a_band_leaves_it_empty_and_without_imbalance():
    features = book_features(batch([([(9_990, 5)], [(10_010, 7)])]))
    assert features["bid_depth_5bp"].tolist() == features["ask_depth_5bp"].tolist() == [0]
    assert np.isnan(features["imbalance_5bp"]).all()
    assert (features["bid_depth_10bp"].tolist(), features["ask_depth_10bp"].tolist()) == ([5], [7])


def test_the_microprice_lies_nearer_to_the_side_with_less_on_offer():
    features = book_features(batch([([(100, 30)], [(104, 10)])]))
    assert features["mid"].tolist() == [102]
    assert features["microprice"].tolist() == [103]


@pytest.mark.parametrize(("levels", "expected"), [(4, 4 * 7), (5, 5 * 7), (6, 5 * 7)])
def test_a_book_with_fewer_levels_counts_those_it_has(levels: int, expected: int):
    bids: Side = [(1000 - level, 7) for level in range(levels)]
    features = book_features(batch([(bids, [(1001, 1)])]))
    assert features["bid_amount_5"].tolist() == [expected]
    assert features["bid_amount_20"].tolist() == [7 * levels]
    assert features["ask_amount_5"].tolist() == [1]


def test_more_decimals_change_nothing_but_the_unit():
    book: Snapshot = ([(99_999, 3), (99_950, 2)], [(100_003, 5), (100_051, 9)])
    coarse = book_features(batch([book]))
    fine = book_features(batch([tuple([(10 * price, 1000 * amount) for price, amount in side] for side in book)]))  # pyright: ignore[reportArgumentType] -- a pair of sides
    assert {name: values.tolist() for name, values in fine.items() if "imbalance" in name} == {
        name: values.tolist() for name, values in coarse.items() if "imbalance" in name
    }
    assert fine["bid_depth_5bp"] == 1000 * coarse["bid_depth_5bp"]
    assert fine["spread"] == 10 * coarse["spread"]
