import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.features.imbalance import Imbalances, SecondsOfBooks, SecondsOfTrades, imbalances

# By second: amounts bid and asked, or bought and sold.
Pairs = dict[int, tuple[int, int]]

seconds = st.integers(0, 200)
book_pairs = st.dictionaries(seconds, st.tuples(st.integers(1, 2**40), st.integers(1, 2**40)), max_size=80)
trade_pairs = st.dictionaries(seconds, st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=80)


def columns(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ordered = sorted(pairs)
    values = np.array([pairs[second] for second in ordered], dtype=np.float64).reshape(-1, 2)
    return np.array(ordered, dtype=np.int64) * 1_000_000, values[:, 0], values[:, 1]


def compute(books: Pairs, trades: Pairs) -> Imbalances:
    return imbalances(SecondsOfBooks(*columns(books)), SecondsOfTrades(*columns(trades)))


def by_hand(books: Pairs, trades: Pairs, second: int) -> dict[str, float]:
    """The imbalances of one second, each window gathered anew."""
    row: dict[str, float] = {}
    for width in (1, 5, 15, 60):
        window = range(second - width + 1, second + 1)
        of_books = [(bid - ask) / (bid + ask) for bid, ask in (books[one] for one in window if one in books)]
        row[f"book_imbalance_{width}s"] = math.fsum(of_books) / len(of_books) if of_books else math.nan
        bought = sum(trades[one][0] for one in window if one in trades)
        sold = sum(trades[one][1] for one in window if one in trades)
        row[f"trade_imbalance_{width}s"] = (bought - sold) / (bought + sold) if bought + sold else math.nan
    return row


@given(books=book_pairs, trades=trade_pairs)
def test_imbalances_equal_those_of_windows_gathered_one_by_one(books: Pairs, trades: Pairs):
    found = compute(books, trades)
    expected_seconds = sorted({*books, *trades})
    assert (found.second_us // 1_000_000).tolist() == expected_seconds
    expected = [by_hand(books, trades, second) for second in expected_seconds]
    for name in by_hand({}, {}, 0):
        np.testing.assert_allclose(
            found.columns[name], [row[name] for row in expected], rtol=0, atol=1e-14, err_msg=name
        )
    assert len(found.columns) == 8


@given(books=book_pairs, trades=trade_pairs, start=seconds)
def test_what_lies_before_the_longest_window_changes_no_bit(books: Pairs, trades: Pairs, start: int):
    whole = compute(books, trades)
    part = compute(*({second: pair for second, pair in one.items() if second >= start - 59} for one in (books, trades)))
    for name, values in whole.columns.items():
        after = values[whole.second_us >= start * 1_000_000]
        assert np.array_equal(after, part.columns[name][part.second_us >= start * 1_000_000], equal_nan=True)


@pytest.mark.parametrize(("width", "ago_in", "ago_out"), [(1, 0, 1), (5, 4, 5), (15, 14, 15), (60, 59, 60)])
def test_a_window_reaches_back_so_many_seconds_and_no_further(width: int, ago_in: int, ago_out: int):
    books, trades = {1000: (1, 1)}, {1000: (0, 0)}
    inside = compute({**books, 1000 - ago_in: (3, 1)}, {**trades, 1000 - ago_in: (3, 1)})
    outside = compute({**books, 1000 - ago_out: (3, 1)}, {**trades, 1000 - ago_out: (3, 1)})
    assert inside.columns[f"book_imbalance_{width}s"][-1] == (0.5 if ago_in == 0 else 0.25)
    assert inside.columns[f"trade_imbalance_{width}s"][-1] == 0.5
    assert outside.columns[f"book_imbalance_{width}s"][-1] == 0
    assert np.isnan(outside.columns[f"trade_imbalance_{width}s"][-1])


def test_trades_of_unknown_side_make_a_row_without_a_trade_imbalance():
    found = compute({}, {7: (0, 0)})
    assert found.second_us.tolist() == [7_000_000]
    assert all(np.isnan(values).all() for values in found.columns.values())
