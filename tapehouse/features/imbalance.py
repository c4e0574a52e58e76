"""Imbalances over windows of seconds: the columns of `imbalance`, from order-book features and trades by the second.

Formulas only; which seconds are read and written is the store's business.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from tapehouse.candle import Float64Array, Int64Array
from tapehouse.features.book import imbalance

# Each window ends with the second it is given for.
WINDOWS_S: Final = (1, 5, 15, 60)
# For so long after a second its trades and books are in a window.
REACH_S: Final = max(WINDOWS_S) - 1

_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class SecondsOfBooks:
    """What the seconds that have a snapshot say, sorted, all of shape (n,).

    `second_us` is where they start, in microseconds since 1970 UTC; `bid_amount` and `ask_amount` are summed
    over the five best levels.
    """

    second_us: Int64Array
    bid_amount: Float64Array
    ask_amount: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class SecondsOfTrades:
    """What the seconds that have a trade say, sorted, all of shape (n,).

    `second_us` is where they start, in microseconds since 1970 UTC; `bought` and `sold` are the amounts that
    takers bought and sold, both 0 where no side is known.
    """

    second_us: Int64Array
    bought: Float64Array
    sold: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Imbalances:
    """Imbalances of the seconds that start at `second_us`, by the names of their columns, all of shape (n,)."""

    second_us: Int64Array
    columns: dict[str, Float64Array]


def imbalances(books: SecondsOfBooks, trades: SecondsOfTrades) -> Imbalances:
    """The imbalances of each second that has a snapshot or a trade, over windows that end with it.

    A window of w seconds of the second [s, s + 1 s) is [s + 1 s - w, s + 1 s), so it needs what lies up to
    w - 1 s before s. All lie from -1 (asked, sold) to 1 (bid, bought).

    - `book_imbalance_5s`: the mean over the seconds of the window that have a snapshot of
      (bid_amount - ask_amount) / (bid_amount + ask_amount); NaN if none has. After the imbalances between
      demand and supply along the book in Cao, Hansch and Wang, "The information content of an open
      limit-order book", Journal of Futures Markets 29 (2009) 16-41.
    - `trade_imbalance_5s`: (bought - sold) / (bought + sold) of the window's trades of known side; NaN if it
      has none. After the order imbalance scaled by what was traded in Chordia and Subrahmanyam, "Order
      imbalance and individual stock returns", Journal of Financial Economics 72 (2004) 485-518; exchanges
      tell who was the taker, so no rule has to guess it.
    """
    second_us = np.union1d(books.second_us, trades.second_us)
    book_rows, trade_rows = (np.searchsorted(second_us, one.second_us) for one in (books, trades))
    of_book, has_book, bought, sold = np.zeros((4, len(second_us)))
    of_book[book_rows] = imbalance(books.bid_amount, books.ask_amount)
    has_book[book_rows] = 1
    bought[trade_rows] = trades.bought
    sold[trade_rows] = trades.sold
    columns: dict[str, Float64Array] = {}
    for window_s in WINDOWS_S:
        seen = _sums(second_us, has_book, window_s)
        total = _sums(second_us, of_book, window_s)
        columns[f"book_imbalance_{window_s}s"] = np.divide(total, seen, out=np.full(len(seen), np.nan), where=seen > 0)
    for window_s in WINDOWS_S:
        columns[f"trade_imbalance_{window_s}s"] = imbalance(
            _sums(second_us, bought, window_s), _sums(second_us, sold, window_s)
        )
    return Imbalances(second_us, columns)


def _sums(second_us: Int64Array, values: Float64Array, window_s: int) -> Float64Array:
    """The sums of the values over the window that ends with each second."""
    sums = np.zeros(len(values))
    # A window has at most as many rows as seconds. They are added one by one, oldest first, for the rounding
    # of a sum must not depend on what was read beside its window, as that of a difference of totals would.
    for back in range(min(window_s, len(values)) - 1, -1, -1):
        end = len(values) - back
        is_inside = second_us[back:] - second_us[:end] < window_s * _SECOND_US
        sums[back:] += np.where(is_inside, values[:end], 0.0)
    return sums
